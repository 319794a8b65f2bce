"""What renting a machine and reaching its server needs here, looked for before anything is asked: all at once."""

from infra.aws import session
from infra.aws.boto import has_credentials
from infra.aws.unsent import NO_CREDENTIALS, said_of


def require() -> None:
    """Raise for all that is missing: AuthError where credentials are, else HostError for programs."""
    programs = session.missing_programs()
    if has_credentials():
        if programs:
            raise session.lacks(programs)
        return
    error = said_of(NO_CREDENTIALS, "")
    if programs:
        tools = session.lacks(programs)
        error.message, error.hint = f"{error.message} {tools.message}", f"{error.hint}. {tools.hint}"
    raise error
