//! Leases of slots between processes.
