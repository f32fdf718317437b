"""Every message and every deadline has a part that takes it."""

from __future__ import annotations

import ast
import inspect

from gossip import messages, switch
from gossip.events import SendMessage
from gossip.timers import Timer

from .cluster import Cluster, id_of, key_of

SOURCE = inspect.getsource(switch.Switch)


def test_every_deadline_is_named() -> None:
    named = {
        node.attr
        for node in ast.walk(ast.parse(SOURCE))
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "Timer"
    }
    assert named == {timer.name for timer in Timer}


def test_every_body_is_named() -> None:
    named = {
        ast.unparse(node.cls)
        for node in ast.walk(ast.parse(SOURCE))
        if isinstance(node, ast.MatchClass)
    }
    assert named == {body.__name__ for body in messages.Body.__args__}


def test_a_message_reaches_the_part_that_answers_it() -> None:
    cluster = Cluster()
    cluster.boot(2)
    cluster.run(2)
    zero = cluster.node(0)
    zero.drain()
    zero.receive(messages.encode(1, messages.Ping(7)), id_of(key_of(1)), cluster.now)
    payloads = [output.payload for output in zero.drain() if isinstance(output, SendMessage)]
    answers = [messages.decode(payload).body for payload in payloads]
    assert [body.nonce for body in answers if isinstance(body, messages.Ack)] == [7]
