"""What belongs to a parent process, and is not to be touched in its child."""

from __future__ import annotations

import os
from typing import Protocol
from weakref import WeakSet

from smtpx._forking import have_forks_wait
from smtpx.errors import LocalProtocolError

_forks = 0


class Inherited(Protocol):
    """What a child begins anew."""

    def leave_parent(self) -> None:
        """Forget what is the parent's, and touch none of it."""
        ...


# In the child no other thread runs yet: nobody meets a lock that the parent's threads hold.
_inherited: WeakSet[Inherited] = WeakSet()


def forks() -> int:
    """How many forks there were from the process that was started to this one."""
    return _forks


def begins_anew_in_child(inherited: Inherited) -> None:
    """Have it leave its parent after each fork."""
    _inherited.add(inherited)


def not_ours() -> LocalProtocolError:
    """What a child is told who goes on with what its parent sends."""
    return LocalProtocolError(
        "this send_many is the parent process's, which is told of all results: call send_many "
        "anew in the child"
    )


def _in_child() -> None:
    global _forks
    _forks += 1
    for inherited in list(_inherited):
        inherited.leave_parent()


have_forks_wait()
if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=_in_child)
