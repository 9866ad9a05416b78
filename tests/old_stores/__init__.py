"""Stores that earlier versions left behind, and the bodies whose instances are in them."""
