"""Commands that act: on one instance, on many, on approvals and schedules, in a pipe and on a
terminal."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
from commands import is_row, on_terminal, piped
from shop import asked, fail, order, pay, ship

from stepwell import sync


@pytest.fixture
def engine(tmp_path, monkeypatch):
    """An engine in another thread, whose store is the one that commands mean."""
    path = str(tmp_path / "shop.db")
    monkeypatch.setenv("STEPWELL_STORE", path)
    monkeypatch.setenv("SHOP_KEY", str(tmp_path / "key"))
    monkeypatch.setenv("LOGNAME", "ann")
    with sync.Engine(path, workflows=[order, pay, ship, fail, asked]) as engine:
        yield engine


def lines(text):
    return [json.loads(it) for it in text.splitlines()]


def orders(engine, count):
    for n in range(count):
        it = engine.create(order, id=f"o-{n}", attributes={"customer": "acme"})
        it.wait_for_status("waiting")


def test_create_send_and_result(engine, tmp_path):
    done = piped(
        "create", "order", '{"n": 1}', "--id", "o-1", "--attribute", "vip=true", "--attribute",
        "customer=acme", "--retention", "3 days",
    )  # fmt: skip
    assert (done.code, lines(done.out)) == (0, [{"workflow": "order", "id": "o-1"}])
    assert piped("create", "order", "--id", "o-1").code == 4
    assert piped("create", "order", "--id", "o-1", "--if-exists", "return").code == 0
    assert dict(engine.list().items[0].attributes) == {"vip": True, "customer": "acme"}
    assert on_terminal("create", "order", "--id", "o-2").out == "order/o-2\n"
    value = '{"$": "datetime", "value": "2026-11-30T02:00:00+00:00"}'
    done = piped("send-event", "order/o-1", "paid", "-", stdin=f'{{"at": {value}}}')
    assert (done.code, done.out, done.err) == (0, "", "paid is sent to order/o-1\n")
    [told] = lines(piped("result", "order/o-1").out)
    assert told == {"params": {"n": 1}, "paid": {"at": json.loads(value)}}
    (tmp_path / "paid.json").write_text("40")
    assert piped("send-event", "order/o-2", "paid", f"@{tmp_path}/paid.json").code == 0
    assert on_terminal("result", "order/o-2").out == '{"params": null, "paid": 40}\n'
    assert piped("send-event", "order/o-2", "paid").code == 4


def test_result_says_how_it_ended(engine):
    piped("create", "fail", "--id", "f")
    done = piped("result", "fail/f")
    assert (done.code, done.out) == (1, "")
    assert done.err.endswith("ValueError: no such address\n")
    done = piped("create", "fail", "--result")
    assert (done.code, done.out) == (1, "")
    orders(engine, 1)
    done = piped("result", "order/o-0", "--timeout", "0")
    assert (done.code, done.err) == (124, "stepwell: order/o-0 has not ended after 0 seconds.\n")


def test_request_prints_the_answer(engine):
    piped("create", "asked", "--id", "a")
    done = piped("request", "asked/a", "question", '"why"')
    assert (done.code, lines(done.out)) == (0, [{"answer": "why"}])
    orders(engine, 1)
    assert piped("request", "order/o-0", "question", "--timeout", "0.01").code == 124


def test_one_instance_is_acted_on_by_its_address(engine):
    orders(engine, 1)
    for command, told in (
        (["pause"], "pause: order/o-0 is paused\n"),
        (["resume"], "resume: order/o-0 is "),
        (["retry", "--note", "key is back"], "retry: order/o-0 is waiting\n"),
        (["terminate"], "terminate: order/o-0 is terminated\n"),
        (["restart"], "restart: order/o-0 is "),
        (["delete"], "order/o-0 is deleted\n"),
    ):
        done = piped(command[0], "order/latest", *command[1:])
        assert (done.code, done.out) == (0, ""), done.err
        assert done.err.startswith(told)
        engine.count()
        if command[0] in ("resume", "restart"):
            engine.get(order, "o-0").wait_for_status("waiting")
    row = engine.audit(limit=1).items[0]
    assert (row.actor, row.operation) == ("ann", "delete")
    assert piped("pause", "order/o-0").code == 3
    assert piped("pause", "order/o-0", "--status", "waiting").code == 2


def test_restart_from_a_step(engine, tmp_path):
    (tmp_path / "key").touch()
    assert piped("create", "pay", "--id", "p", "--result").out == '"charged"\n'
    [seen] = lines(piped("restart", "pay/p", "--from-step", "charge", "--dry-run").out)
    is_row(seen, "RestartPreview")
    assert [it["name"] for it in seen["erased"]] == ["charge"]
    done = piped("restart", "pay/p", "--from-step", "reserve")
    assert (done.code, done.err) == (
        3, "stepwell: pay/p has no step 'reserve'; it has charge.\n",
    )  # fmt: skip
    assert piped("restart", "pay/p", "--from-step", "failed").code == 4
    assert piped("restart", "pay/p", "--from-step", "charge").code == 0
    assert piped("result", "pay/p").out == '"charged"\n'


def test_a_stuck_step_is_resolved(engine):
    piped("create", "pay", "--id", "p")
    engine.get(pay, "p").wait_for_status("waiting")
    assert piped("resolve", "pay/p", "charge").code == 2
    assert piped("resolve", "pay/p", "nope", "--value", "1").code == 3
    done = piped("resolve", "pay/p", "charge", "--value", '"by hand"')
    assert (done.code, done.err) == (0, "resolve: charge of pay/p has its outcome\n")
    assert piped("result", "pay/p").out == '"by hand"\n'


def test_many_are_not_acted_on_unasked(engine):
    orders(engine, 3)
    done = piped("pause", "order")
    assert done.code == 2
    assert "that would be about everything of order; name instances" in done.err
    done = piped("pause", "order", "--status", "waiting")
    assert done.code == 2
    assert "there is no terminal to ask on. Look with --dry-run, then say --yes" in done.err
    [seen] = lines(piped("pause", "order", "--status", "waiting", "--dry-run").out)
    is_row(seen, "BulkPreview")
    assert seen["counts"] == {"waiting": 3}
    assert engine.count(order)["paused"] == 0
    done = piped("pause", "order", "--attribute", "customer=acme", "--yes", "--note", "ticket 1")
    [result] = lines(done.out)
    is_row(result, "BulkResult")
    assert (done.code, result["done"], result["errors"]) == (0, 3, [])
    assert done.err == f"pause: 3 done, 0 refused (bulk {result['id']})\n"
    [bulk] = lines(piped("bulk").out)
    is_row(bulk, "Bulk")
    assert (bulk["actor"], bulk["note"], bulk["done"]) == ("ann", "ticket 1", 3)
    assert lines(piped("bulk", "show", bulk["id"]).out) == [bulk]
    assert lines(piped("bulk", "stop", bulk["id"]).out) == [bulk]
    assert piped("bulk", "show", "999").code == 3


def test_a_terminal_asks(engine):
    orders(engine, 3)
    asks = ["terminate", "order", "--attribute", "customer=acme"]
    shown = on_terminal(*asks, typed="n\n")
    assert shown.code == 130
    assert "terminate: 3 instances (waiting: 3)? [y/N]" in shown.out
    assert "  order/o-0  waiting" in shown.out
    assert engine.count()["terminated"] == 0
    shown = on_terminal(*asks, typed="y\n")
    assert shown.code == 0
    assert "terminate: 3 done, 0 refused" in shown.out
    assert "nobody is meant; nothing was done." in on_terminal(*asks).out


def test_above_a_hundred_the_number_is_typed(engine):
    engine.create_batch(order, [None] * 101)
    while engine.count()["waiting"] < 101:
        time.sleep(0)
    shown = on_terminal("terminate", "--status", "waiting", typed="100\n")
    assert shown.code == 130
    assert "terminate: 101 instances (waiting: 101). Type 101 to go on" in shown.out
    assert on_terminal("terminate", "--status", "waiting", typed="101\n").code == 0
    assert engine.count()["terminated"] == 101


def test_ids_go_into_other_commands(engine):
    orders(engine, 3)
    addresses = piped("list", "--id-prefix", "o-", "--ids").out.split()
    assert piped("pause", *addresses[:2], "--yes").code == 0
    assert engine.count()["paused"] == 2


def test_addresses_of_several_workflows_are_a_bulk_each(engine):
    orders(engine, 2)
    engine.create(pay, id="p").wait_for_status("waiting")
    addresses = piped("list", "--ids").out.split()
    assert len(addresses) == 3
    seen = lines(piped("pause", *addresses, "--dry-run").out)
    assert sorted(it["counts"]["waiting"] for it in seen) == [1, 2]
    done = piped("pause", *addresses, "--yes")
    assert (done.code, sorted(it["done"] for it in lines(done.out))) == (0, [1, 2])
    assert "pause of order: 2 done, 0 refused (bulk " in done.err
    assert "pause of pay: 1 done, 0 refused (bulk " in done.err
    shown = on_terminal("terminate", "order", "pay", "--status", "paused", typed="y\n")
    assert shown.code == 0
    assert "terminate: 3 instances (paused: 3)? [y/N]" in shown.out
    assert engine.count()["terminated"] == 3
    assert piped("resume", *addresses, "--yes", "--to-version", "9").code == 9


def test_what_was_done_in_part_says_so(engine):
    orders(engine, 2)
    piped("terminate", "order/o-0")
    done = piped("resume", "order", "--status", "all", "--yes", "--to-version", "9")
    [result] = lines(done.out)
    assert done.code == 9
    assert result["errors"][0]["error"]["type"] == "InvalidState"


def test_a_reason_and_what_it_is_about_choose_many(engine, tmp_path):
    for n in range(3):
        engine.create(pay, id=f"p-{n}").wait_for_status("waiting")
    orders(engine, 2)
    (tmp_path / "key").touch()
    done = piped("retry", "--reason", "retrying", "--step", "charge", "--error-type", "AuthError",
                 "--rate", "1000", "--yes")  # fmt: skip
    assert (done.code, lines(done.out)[0]["done"]) == (0, 3)
    assert piped("retry", "--reason", "retrying", "--step", "nope", "--yes").code == 3
    assert piped("send-event", "all", "paid", "--reason", "event", "--yes").code == 0
    for n in range(2):
        engine.get(order, f"o-{n}").result()


def test_approvals_are_decided_once(engine):
    for n in range(3):
        engine.create(ship, id=f"s-{n}").wait_for_status("waiting")
    rows = lines(piped("approvals").out)
    for it in rows:
        is_row(it, "ApprovalRequest")
    assert rows[0]["detail"] == {"boxes": 2}
    assert "ship/s-0#ship it?#1" in on_terminal("approvals", "ship").out
    assert piped("approve", rows[0]["id"], "--by", "bob", "--reason", "seen").code == 0
    again = piped("reject", rows[0]["id"])
    assert again.code == 4
    assert "was decided before, and stays as it was" in again.err
    assert piped("result", "ship/s-0").out == '"bob"\n'
    assert piped("approve", "ship/s-1").code == 2
    assert piped("approve", "ship/nope#ship it?#1").code == 3
    assert piped("approve", "ship", "--status", "waiting", "--yes").code == 0
    assert len(lines(piped("approvals", "--status", "approved").out)) == 3
    assert lines(piped("approvals").out) == []


def test_schedules_are_put_looked_at_and_fired(engine):
    assert piped("schedules").out == ""
    [made] = lines(piped("schedules", "put", "nightly", "order", "0 2 * * *", '{"n": 1}').out)
    assert (made["id"], made["workflow"], made["when"]) == ("nightly", "order", "0 2 * * *")
    assert lines(piped("schedules", "show", "nightly").out) == [made]
    assert len(lines(piped("schedules", "next", "nightly", "-n", "3").out)) == 3
    assert "nightly  order     0 2 * * *  UTC" in on_terminal("schedules").out
    [fired] = lines(piped("schedules", "trigger", "nightly").out)
    assert fired["workflow"] == "order"
    [firing] = lines(piped("schedules", "firings", "nightly").out)
    is_row(firing, "Firing")
    range = ["schedules", "backfill", "nightly", "2026-01-01T00:00Z", "2026-01-03T00:00Z"]
    assert len(lines(piped(*range, "--dry-run").out)) == 2
    assert len(engine.list().items) == 1
    assert len(lines(piped(*range).out)) == 2
    assert len(engine.list(schedule="nightly").items) == 3
    assert piped("schedules", "pause", "nightly").err == "pause: schedule nightly\n"
    assert piped("schedules", "next", "nightly").out == ""
    assert piped("schedules", "resume", "nightly").code == 0
    assert piped("schedules", "put", "x", "order", "61 * * * *").code == 2
    assert piped("schedules", "delete", "nightly").code == 0
    assert piped("schedules", "show", "nightly").code == 3


def test_limits_versions_queue_and_the_rest(engine, tmp_path):
    [limits] = lines(piped("limits", "set", "order", "--concurrency", "3").out)
    is_row(limits, "Limits")
    assert limits["concurrency"] == 3
    assert lines(piped("limits", "show", "order").out) == [limits]
    assert lines(piped("limits", "set", "order", "--concurrency", "none").out)[0] != limits
    assert piped("limits", "set", "order").code == 2
    assert piped("limits", "set", "--concurrency", "many").code == 2
    assert "concurrency" in on_terminal("limits").out
    orders(engine, 1)
    for it in lines(piped("versions").out):
        is_row(it, "VersionCount")
    [told] = lines(piped("queue", "order").out)
    is_row(told, "QueueExplanation")
    assert on_terminal("queue", "order").out == 'no instance of "order" is queued.\n'
    for it in lines(piped("audit").out):
        is_row(it, "AuditRow")
    assert "set_limits" in on_terminal("audit", "order").out
    assert lines(piped("namespaces").out) == [{"id": "default"}]
    assert lines(piped("count", "order").out)[0]["waiting"] == 1
    is_row(lines(piped("top").out)[0], "EngineStatistics")
    copy = tmp_path / "copy.db"
    assert piped("backup", copy).code == 0
    assert piped("backup", copy).code == 2
    assert piped("reshard", "8").err == "the instances are spread over 8 shards\n"
    assert piped("drain").code == 0


def test_a_namespace_is_removed(engine):
    piped("create", "order", "--id", "o", "--namespace", "acme")
    engine.namespace("acme").get(order, "o").wait_for_status("waiting")
    orders(engine, 1)
    done = piped("namespaces", "delete", "acme")
    assert (done.code, "say --yes, or ask on a terminal" in done.err) == (2, True)
    assert on_terminal("namespaces", "delete", "acme", typed="acne\n").code == 130
    shown = on_terminal("namespaces", "delete", "acme", typed="acme\n")
    assert (shown.code, "acme is gone, 1 instance\n" in shown.out) == (0, True)
    assert piped("list", "--namespace", "acme").out == ""
    assert piped("list", "--ids").out == "order/o-0\n"


def test_queued_ones_are_brought_forward(engine):
    at = "2099-01-01T00:00Z"
    piped("create", "order", "--id", "later", "--start-at", at, "--priority", "-5")
    assert piped("set-priority", "order/later", "7").err == "set-priority: order/later is queued\n"
    assert piped("start-now", "order/later").code == 0
    engine.get(order, "later").wait_for_status("waiting")
    assert piped("set-priority", "order/later", "7").code == 4


def test_watch_follows_to_the_end(engine):
    orders(engine, 1)
    done = piped("watch", "order/o-0", "--until", "waiting")
    assert done.code == 0
    piped("send-event", "order/o-0", "paid")
    piped("result", "order/o-0")
    rows = lines(piped("watch", "order/o-0").out)
    for it in rows:
        is_row(it, "Update")
    assert rows[-1]["status"] == "complete"
    assert piped("watch", "order/o-0", "--cursor", rows[-1]["cursor"]).out == ""
    assert "record  paid done" in on_terminal("watch", "order/o-0").out
    assert piped("watch", "order/o-0", "--until", "paused").code == 4
    piped("create", "fail", "--id", "f")
    assert piped("watch", "fail/f").code == 1


def test_watch_says_what_it_watches(engine):
    orders(engine, 1)
    engine.create(pay, id="p").wait_for_status("waiting")
    done = piped("watch", "order/latest", "--timeout", "0.2")
    assert done.code == 124
    assert done.err == (
        "watching order/o-0, which is waiting; Ctrl-C ends that\n"
        "stepwell: watching ended after 0.2 seconds.\n"
    )
    done = piped("watch", "--timeout", "1")
    assert (done.code, done.out) == (124, "")
    assert done.err == (
        "watching all instances; Ctrl-C ends that\nstepwell: watching ended after 1 second.\n"
    )
    assert "all instances of pay; Ctrl-C" in piped("watch", "pay", "--timeout", "1").err
    done = piped("watch", "nobody")
    assert (done.code, done.out) == (3, "")
    assert 'there is no workflow "nobody"; there is: ' in done.err
    assert piped("watch", "pay", "--until", "waiting").code == 2


@pytest.mark.slow
def test_watch_of_a_workflow_tells_of_no_other(engine):
    with subprocess.Popen(
        [sys.executable, "-m", "stepwell", "watch", "order"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        try:
            assert process.stderr is not None
            assert process.stderr.readline().startswith("watching all instances of order; ")
            engine.create(fail, id="f").wait_for_status("errored")
            engine.create(order, id="o").wait_for_status("waiting")
            assert process.stdout is not None
            row = json.loads(process.stdout.readline())
            is_row(row, "Change")
            assert (row["workflow"], row["id"]) == ("order", "o")
        finally:
            process.kill()


def test_export_is_json(engine, tmp_path):
    orders(engine, 1)
    [told] = lines(piped("export", "order/o-0").out)
    assert told == engine.get(order, "o-0").export()
    assert piped("export", "order/o-0", tmp_path / "o.json").code == 0
    assert json.loads((tmp_path / "o.json").read_text()) == told
    assert piped("export", "order/o-0", tmp_path / "o.json").code == 2
    assert piped("export", "order/o-0", tmp_path / "no" / "o.json").code == 2


def test_a_dash_is_standard_output_and_no_file(engine, tmp_path, monkeypatch):
    orders(engine, 1)
    monkeypatch.chdir(tmp_path)
    before = set(os.listdir())
    assert lines(piped("export", "order/o-0", "-").out) == lines(piped("export", "order/o-0").out)
    done = piped("backup", "-")
    assert (done.code, "give the path of a new file" in done.err) == (2, True)
    done = piped("doctor", "--repair-to", "-")
    assert (done.code, "give the path of a new file" in done.err) == (2, True)
    assert set(os.listdir()) == before


def test_a_full_queue_is_overload(engine):
    piped("limits", "set", "order", "--concurrency", "1", "--queue-entries", "1")
    at = ["--start-at", "2 hours"]
    assert piped("create", "order", *at).code == 0
    done = piped("create", "order", *at)
    assert done.code == 5
    assert os.linesep.join(done.err.splitlines()).startswith("stepwell: ")


@pytest.mark.slow
def test_ctrl_c_leaves_many_to_the_engine(engine):
    orders(engine, 2)
    with subprocess.Popen(
        [sys.executable, "-m", "stepwell", "pause", "order", "--status", "waiting", "--rate",
         "0.001", "--yes"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        try:
            while not engine.bulk.list().items:
                time.sleep(0.01)
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=60)
        finally:
            process.kill()
    assert (process.returncode, out) == (130, "")
    assert "the engine goes on with it: see `stepwell bulk list`" in err
    [bulk] = engine.bulk.list().items
    assert bulk.status == "running"
    assert lines(piped("bulk", "stop", bulk.id).out)[0]["status"] == "stopped"
