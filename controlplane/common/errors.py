"""The one family of errors that services raise; only the edges translate them.

A subclass of one of the kinds below is made per cause; the API turns the kind into a status,
the admin into a message, a gateway into an error frame or a close code.
"""


class ControlPlaneError(Exception):
    """Base of every error that the portal raises on purpose.

    `code` is stable and meant for programs; `str(error)` is a sentence for people that says what to do.
    """

    code = "control_plane_error"
    retryable = False

    def __init__(self, message: str = "", *, code: str | None = None) -> None:
        super().__init__(message or type(self).__doc__ or self.code)
        if code is not None:
            self.code = code


class NotFound(ControlPlaneError):
    """What was asked for does not exist."""

    code = "not_found"


class Conflict(ControlPlaneError):
    """The state of things does not allow it now."""

    code = "conflict"


class Invalid(ControlPlaneError):
    """The request cannot be right, whatever the state.

    `field` names the offending input with dots, as in `args.task_name`.
    """

    code = "invalid"

    def __init__(self, message: str = "", *, field: str = "", code: str | None = None) -> None:
        super().__init__(message, code=code)
        self.field = field


class Forbidden(ControlPlaneError):
    """The requester's role does not allow it."""

    code = "forbidden"


class Unauthorized(ControlPlaneError):
    """The requester must prove who they are, perhaps again."""

    code = "unauthorized"


class TooMany(ControlPlaneError):
    """Too many of this came; the same is taken again after `retry_after_s` seconds."""

    code = "too_many"
    retryable = True

    def __init__(self, message: str = "", *, retry_after_s: int, code: str | None = None) -> None:
        super().__init__(message, code=code)
        self.retry_after_s = retry_after_s


class Unavailable(ControlPlaneError):
    """The portal cannot do this yet, or for now."""

    code = "unavailable"
    retryable = True
