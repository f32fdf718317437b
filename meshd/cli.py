"""What a person types: the verbs of `meshd`, and what its exit code means.

Verbs are imported when they are run, so that help and status come at once.
"""

from __future__ import annotations

import argparse
import importlib
import os
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from meshd import __version__
from meshd.node.errors import LocalError, RemoteError

CERTS = Path("/etc/aegisray/certs")
STATE = Path("/var/lib/aegisray")
SOCKET = Path("/run/aegisray/meshd.sock")

INTERRUPTED = 130
BROKEN_PIPE = 141

EXIT_CODES = """\
exit codes:
  0    it worked
  1    it did not: the message says why, and what to type next
  2    the command line or the configuration is wrong
  3    this host lacks something: a device, a right, a port
  4    no daemon answers, or it is not up yet
  130  interrupted
"""

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb and return the exit code; every expected failure is one sentence on stderr."""
    args = parse(sys.argv[1:] if argv is None else argv)
    module, _, function = args.run.partition(":")
    try:
        run: Callable[[argparse.Namespace], int] = getattr(
            importlib.import_module(module), function
        )
        code = run(args)
        sys.stdout.flush()
        return code
    except LocalError as error:
        return _fail(str(error), error.exit_code)
    except RemoteError as error:
        return _fail(f"the other side was refused: {error}", 1)
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # Python would complain again when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return BROKEN_PIPE
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        return _fail(f"{where}{error.strerror or error}", 3)


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """The verb and its options; exits with code 2 and the usage when they make no sense."""
    parser = build_parser()
    args, rest = parser.parse_known_args(argv)
    if args.verb == "demo":
        args.arguments = rest
    elif rest:
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    return args


def build_parser() -> argparse.ArgumentParser:
    """The whole command line."""
    parser = argparse.ArgumentParser(
        prog="meshd",
        description="AegisRay: a mesh VPN with no server to run.",
        epilog=EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"meshd {__version__}")
    _add_places(parser, hidden=False)
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
    _add_enrolling(verbs)
    _add_certificates(verbs)
    _add_running(verbs)
    _add_showing(verbs)
    return parser


def _add_enrolling(verbs: Any) -> None:
    init = _verb(verbs, "init", "enrol:init", "make a mesh, with this host as its first node")
    init.add_argument("--name", metavar="NODE", help="this node's name (default: the host's)")
    init.add_argument("--network", metavar="NAME", help="the mesh's name (default: aegisray)")
    init.add_argument(
        "--cidr", metavar="PREFIX", help="its IPv4 addresses (default: 100.64.0.0/16)"
    )
    invite = _verb(verbs, "invite", "enrol:invite", "print a token that lets one host join")
    invite.add_argument("--name", metavar="NODE", help="what that host will be called")
    for option, what in (
        ("role", "what it may be: exit, relay, bootstrap, issuer"),
        ("route", "a prefix that it may offer, such as 10.0.0.0/8"),
        ("group", "a group that it belongs to"),
    ):
        invite.add_argument(
            f"--{option}",
            metavar=option[0].upper(),
            action="append",
            default=[],
            help=f"{what}; may be given again",
        )
    invite.add_argument(
        "--expires",
        metavar="TIME",
        type=lifetime,
        default="1h",
        help="how long it can be used: 90s, 30m, 1h, 7d (default: 1h)",
    )
    join = _verb(verbs, "join", "enrol:join", "join a mesh with the token of an invitation")
    join.add_argument("token", metavar="TOKEN|-", help="the token; - reads it from standard input")
    join.add_argument("--name", metavar="NODE", help="this node's name (default: the host's)")


def _add_certificates(verbs: Any) -> None:
    revoke = _verb(verbs, "revoke", "trust:revoke", "take back a node's certificate", reading=True)
    revoke.add_argument(
        "node", metavar="NODE", help="its name, id or overlay address; or a CA's id"
    )
    _verb(verbs, "renew", "trust:renew", "get a new certificate now", reading=True)


def _add_running(verbs: Any) -> None:
    _verb(verbs, "up", "run:up", "run the daemon, in the foreground")
    _verb(verbs, "down", "run:down", "stop the daemon, and wait until it has ended")
    _verb(verbs, "leave", "leave:leave", "leave the mesh for good, until invited again")
    # Its own parser knows its options.
    demo = verbs.add_parser(
        "demo", help="show a mesh of five hosts on this machine", add_help=False, allow_abbrev=False
    )
    demo.set_defaults(run="meshd.commands.run:demo")


def _add_showing(verbs: Any) -> None:
    _verb(verbs, "status", "show:status", "show this node and its peers", reading=True)
    ping = _verb(verbs, "ping", "show:ping", "probe a peer through the mesh", reading=True)
    ping.add_argument("peer", metavar="PEER", help="a name, id or overlay address")
    ping.add_argument(
        "-c", "--count", type=_count, default=3, metavar="N", help="how many (default: 3)"
    )
    ping.add_argument(
        "--until-direct",
        action="store_true",
        help="until an answer comes by a direct way; fails at the timeout",
    )
    ping.add_argument(
        "-W",
        "--timeout",
        type=_patience,
        metavar="S",
        help="seconds to wait for each answer (default: 5); of all of --until-direct (default: 30)",
    )
    ping.add_argument(
        "-i",
        "--interval",
        type=_seconds,
        default=1.0,
        metavar="S",
        help="seconds between them (default: 1)",
    )
    why = _verb(verbs, "why", "see:why", "say why a peer is reached as it is", reading=True)
    why.add_argument("peer", metavar="PEER", help="a name, id or overlay address")
    _verb(verbs, "netcheck", "see:netcheck", "show what the network lets through", reading=True)
    lookup = _verb(verbs, "lookup", "show:lookup", "find the node of an address", reading=True)
    lookup.add_argument("query", metavar="ADDR|NAME", help="an address, name or id")
    _verb(verbs, "routes", "show:routes", "show who offers which prefixes", reading=True)
    cert = _group(verbs, "cert", "this node's certificate")
    _verb(cert, "show", "show:cert_show", "show this node's certificate", reading=True)
    config = _group(verbs, "config", "the configuration")
    _verb(config, "check", "show:config_check", "check the configuration", reading=True)


def _verb(
    verbs: Any, name: str, run: str, text: str, *, reading: bool = False
) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = verbs.add_parser(
        name, help=text, description=f"{text[0].upper()}{text[1:]}.", allow_abbrev=False
    )
    parser.set_defaults(run=f"meshd.commands.{run}")
    if reading:
        parser.add_argument("--json", action="store_true", help="print JSON, for scripts")
    _add_places(parser, hidden=True)
    return parser


def _group(verbs: Any, name: str, text: str) -> Any:
    parser = verbs.add_parser(name, help=text, allow_abbrev=False)
    return parser.add_subparsers(dest="what", metavar="VERB", required=True)


def _add_places(parser: argparse.ArgumentParser, *, hidden: bool) -> None:
    """The global options, which may stand before or behind the verb; help tells them once."""
    for option, metavar, default, text in (
        ("--config", "FILE", None, "node.toml or node.yaml (default: in /etc/aegisray)"),
        ("--certs", "DIR", CERTS, f"certificates and keys (default: {CERTS})"),
        ("--state", "DIR", STATE, f"what the node remembers (default: {STATE})"),
        ("--socket", "PATH", SOCKET, f"where the daemon answers (default: {SOCKET})"),
    ):
        parser.add_argument(
            option,
            metavar=metavar,
            type=Path,
            default=argparse.SUPPRESS if hidden else default,
            help=argparse.SUPPRESS if hidden else text,
        )


def lifetime(text: str) -> int:
    """Seconds of `90s`, `30m`, `1h`, `7d` or `1h30m`. Raises ArgumentTypeError."""
    if re.fullmatch(r"(?:[0-9]{1,9}[smhd])+", text) is None:
        raise argparse.ArgumentTypeError(f"{text[:40]!r} is not a time such as 90s, 30m, 1h or 7d")
    return sum(int(count) * _UNITS[unit] for count, unit in re.findall(r"([0-9]+)([smhd])", text))


def _count(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= 1_000_000:
        raise argparse.ArgumentTypeError("expected a whole number from 1 to 1000000")
    return int(text)


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0.001 <= value <= 30:
        raise argparse.ArgumentTypeError("expected seconds, from 0.001 to 30")
    return value


def _patience(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0.001 <= value <= 3600:
        raise argparse.ArgumentTypeError("expected seconds, from 0.001 to 3600")
    return value


def _fail(text: str, code: int) -> int:
    for line in text.splitlines():
        print(f"meshd: {line}", file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
