"""The base of errors that the user can act on."""

from __future__ import annotations


class UserError(ValueError):
    """Something the user can mend; the message says in one line what is wrong and what to do."""
