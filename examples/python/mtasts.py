"""MTA-STS (RFC 8461) for mail programs in Python, by libmtasts.

One call, on the process's default context:

    found = mtasts.lookup("example.com")
    if found.mode is mtasts.Mode.ENFORCE and not found.allows_mx("mx.example.com"):
        ...  # do not use this host now

With a context of its own a program asks once for each message and decides for each MX host:

    with mtasts.Context() as context:
        for decision in context.decide("example.com", ["mx1.example.com", "mx2.example.com"]):
            if decision.action is mtasts.Action.REQUIRE_TLS:
                ...  # STARTTLS, verify against decision.sni, then decision.after_tls(mtasts.TlsState.OK)

Network trouble is a reason in an answer and never an exception. An `Error` means wrong arguments, a broken
configuration or a fault of the library; keep the message then. What the library has to say goes to the logger
`mtasts`. Any thread may use any context, and so may forked children; the interpreter's lock is free while the library
works. include/mtasts.h and the manuals of section 3 say more about each function.

The library is `libmtasts.so.0`, or the file that the environment variable MTASTS_LIBRARY names.
"""

from __future__ import annotations

import atexit
import ctypes
import enum
import logging
import os
import weakref
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Iterable, List, Mapping, Optional, Sequence, Tuple, Type, Union

if TYPE_CHECKING:
    from types import TracebackType

__all__ = [
    "Action",
    "CacheUnavailable",
    "Context",
    "Dane",
    "Decision",
    "Dialect",
    "Error",
    "Flags",
    "InternalError",
    "InvalidArgument",
    "InvalidConfig",
    "InvalidPolicy",
    "InvalidRecord",
    "Lookup",
    "Mode",
    "NoRecord",
    "NotVerified",
    "Policy",
    "Reason",
    "ResultType",
    "Status",
    "TlsState",
    "cleanup",
    "lookup",
    "match_mx",
    "parse_policy",
    "select_record",
    "status_text",
    "version",
]

__version__ = "0.1.0"

# ---- constants ----


class Status(enum.IntEnum):
    """How a call ended."""

    OK = 0
    NULL_ARGUMENT = 1
    INVALID_ARGUMENT = 2
    INVALID_CONFIG = 3
    BUFFER_TOO_SMALL = 4
    INVALID_POLICY = 5
    NO_RECORD = 6
    INVALID_RECORD = 7
    NOT_VERIFIED = 8
    INTERNAL = 9
    CACHE_UNAVAILABLE = 10


class Mode(enum.IntEnum):
    """What applies to a domain. UNKNOWN: keep the message."""

    NONE = 0
    TESTING = 1
    ENFORCE = 2
    UNKNOWN = 3


class Flags(enum.IntFlag):
    """How far a question may go."""

    CACHE_ONLY = 1
    REFRESH = 2


class Reason(enum.IntEnum):
    """Why an answer or a decision is what it is."""

    CACHED = 1
    CONFIRMED = 2
    FETCHED = 3
    PARSED = 4
    BEING_CHECKED = 5
    NOT_CHECKED = 6
    HEALED = 7
    EXEMPTED = 8
    PINNED = 9
    NO_RECORD = 10
    SEVERAL_RECORDS = 11
    MALFORMED_RECORD = 12
    DNS_FAILED = 13
    ADDRESS_LITERAL = 14
    INVALID_DOMAIN = 15
    NOT_CACHED = 16
    WAITED_IN_VAIN = 17
    FETCHED_RECENTLY = 18
    BACKING_OFF = 30
    POLICY_HOST_NOT_FOUND = 31
    POLICY_HOST_UNREACHABLE = 32
    POLICY_HOST_TIMED_OUT = 33
    POLICY_HOST_PRIVATE_ADDRESS = 34
    POLICY_HOST_TLS_FAILED = 35
    POLICY_HOST_CERTIFICATE_EXPIRED = 36
    POLICY_HOST_CERTIFICATE_NOT_TRUSTED = 37
    POLICY_HOST_CERTIFICATE_HOST_MISMATCH = 38
    POLICY_HOST_STATUS = 39
    POLICY_HOST_MEDIA_TYPE = 40
    POLICY_HOST_CONTENT_ENCODING = 41
    POLICY_HOST_INCOMPLETE_BODY = 42
    POLICY_HOST_PROTOCOL = 43
    POLICY_TOO_LARGE = 44
    POLICY_INVALID = 45
    NO_TRUSTED_ROOTS = 46
    POLICY_HOST_DNS_FAILED = 47
    NO_POLICY = 60
    MODE_NONE = 61
    TESTING = 62
    MX_LISTED = 63
    MX_NOT_LISTED = 64
    POLICY_UNKNOWN = 65
    DANE_GOVERNS = 66
    DANE_UNUSABLE = 67
    DANE_FAILED = 68
    TLS_VERIFIED = 70
    STARTTLS_NOT_OFFERED = 71
    TLS_FAILED = 72
    MX_CERTIFICATE_HOST_MISMATCH = 73
    MX_CERTIFICATE_NOT_TRUSTED = 74
    MX_CERTIFICATE_EXPIRED = 75
    MX_CERTIFICATE_INVALID = 76


class ResultType(enum.IntEnum):
    """Failure types of TLS reports (RFC 8460 section 4.3). NONE: nothing to report."""

    NONE = 0
    STARTTLS_NOT_SUPPORTED = 1
    CERTIFICATE_HOST_MISMATCH = 2
    CERTIFICATE_EXPIRED = 3
    CERTIFICATE_NOT_TRUSTED = 4
    VALIDATION_FAILURE = 5
    TLSA_INVALID = 6
    DNSSEC_INVALID = 7
    DANE_REQUIRED = 8
    STS_POLICY_FETCH_ERROR = 9
    STS_POLICY_INVALID = 10
    STS_WEBPKI_INVALID = 11


class Action(enum.IntEnum):
    """What the mail program may do with an MX host."""

    DELIVER = 1
    DELIVER_REPORT = 2
    REQUIRE_ENCRYPTION = 3
    REQUIRE_TLS = 4
    SKIP_HOST = 5
    DEFER = 6


class Dane(enum.IntEnum):
    """What the mail program knows from DANE about an MX host."""

    NOT_CHECKED = 0
    ABSENT = 1
    UNUSABLE = 2
    USABLE = 3
    FAILED = 4


class Dialect(enum.IntEnum):
    """Who asks a socketmap server."""

    SENDMAIL = 1
    POSTFIX = 2
    POSTFIX_TLSRPT = 3


class TlsState(enum.IntEnum):
    """How the TLS handshake with an MX host went."""

    OK = 1
    NO_STARTTLS = 2
    FAILED = 3
    HOST_MISMATCH = 4
    NOT_TRUSTED = 5
    EXPIRED = 6
    CERTIFICATE_INVALID = 7


PATTERNS_SIZE = 65537
ID_SIZE = 33
REPLY_SIZE = 100001

# ---- errors ----


class Error(Exception):
    """A call failed. Its text says what is wrong and what would be right."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(status, text)
        self.status = _known(Status, status)
        self.text = text

    def __str__(self) -> str:
        return self.text


class InvalidArgument(Error):
    """An argument has a value that it cannot have."""


class InvalidConfig(Error):
    """The configuration has a fault; the text names file, line and key."""


class InvalidPolicy(Error):
    """The policy is malformed; the text names the line."""


class NoRecord(Error):
    """There is no STS record."""


class InvalidRecord(Error):
    """There is more than one STS record, or the one is malformed."""


class NotVerified(Error):
    """The certificate chain does not verify.

    `tls_state` is what `Decision.after_tls` goes on with. If it is None, this machine has no trusted roots: the host is
    not to blame, and what needs verified TLS has to wait.
    """

    def __init__(self, status: int, text: str, result_type: ResultType = ResultType.NONE) -> None:
        super().__init__(status, text)
        self.args = (status, text, result_type)
        self.result_type = result_type
        self.tls_state = _TLS_STATES.get(result_type)


class InternalError(Error):
    """A fault inside libmtasts. Nothing may be concluded from the call."""


class CacheUnavailable(Error):
    """The cache cannot be read; the text says why and what would mend it."""


_ERRORS: Mapping[int, Type[Error]] = {
    Status.INVALID_ARGUMENT: InvalidArgument,
    Status.INVALID_CONFIG: InvalidConfig,
    Status.INVALID_POLICY: InvalidPolicy,
    Status.NO_RECORD: NoRecord,
    Status.INVALID_RECORD: InvalidRecord,
    Status.NOT_VERIFIED: NotVerified,
    Status.INTERNAL: InternalError,
    Status.CACHE_UNAVAILABLE: CacheUnavailable,
}

_TLS_STATES: Mapping[ResultType, TlsState] = {
    ResultType.CERTIFICATE_EXPIRED: TlsState.EXPIRED,
    ResultType.CERTIFICATE_NOT_TRUSTED: TlsState.NOT_TRUSTED,
    ResultType.CERTIFICATE_HOST_MISMATCH: TlsState.HOST_MISMATCH,
    ResultType.VALIDATION_FAILURE: TlsState.CERTIFICATE_INVALID,
}

# ---- the library ----


class _NativeContext(ctypes.Structure):
    """mtasts_context"""


class _NativePolicy(ctypes.Structure):
    """mtasts_policy"""


class _NativeDecision(ctypes.Structure):
    """mtasts_decision"""


_ContextP = ctypes.POINTER(_NativeContext)
_PolicyP = ctypes.POINTER(_NativePolicy)
_DecisionP = ctypes.POINTER(_NativeDecision)
_LogFunction = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int, ctypes.c_char_p)

_int, _uint, _size, _text = ctypes.c_int, ctypes.c_uint, ctypes.c_size_t, ctypes.c_char_p
_texts, _sizes = ctypes.POINTER(ctypes.c_char_p), ctypes.POINTER(ctypes.c_size_t)

# What each function of the header returns and takes. Those that Exim calls are left out.
_SIGNATURES: Mapping[str, Tuple[Any, Tuple[Any, ...]]] = {
    "mtasts_last_error": (_text, ()),
    "mtasts_status_text": (_text, (_int,)),
    "mtasts_version": (_text, ()),
    "mtasts_lookup": (_int, (_text, _text, _size)),
    "mtasts_match_mx": (_int, (_text, _text)),
    "mtasts_cleanup": (None, ()),
    "mtasts_context_new": (_int, (_text, ctypes.POINTER(_ContextP))),
    "mtasts_context_free": (None, (_ContextP,)),
    "mtasts_context_set": (_int, (_ContextP, _text, _text)),
    "mtasts_context_set_log": (_int, (_ContextP, _LogFunction, ctypes.c_void_p)),
    "mtasts_query": (_int, (_ContextP, _text, _uint, _int, ctypes.POINTER(_PolicyP))),
    "mtasts_query_for": (_int, (_ContextP, _text, _texts, _size, _uint, _int, ctypes.POINTER(_PolicyP))),
    "mtasts_refresh": (_int, (_ContextP, _uint, _int, ctypes.POINTER(_uint), ctypes.POINTER(_uint))),
    "mtasts_policy_parse": (_int, (_text, _size, ctypes.POINTER(_PolicyP))),
    "mtasts_policy_mode": (_int, (_PolicyP,)),
    "mtasts_policy_domain": (_text, (_PolicyP,)),
    "mtasts_policy_id": (_text, (_PolicyP,)),
    "mtasts_policy_source": (_text, (_PolicyP,)),
    "mtasts_policy_reason_text": (_text, (_PolicyP,)),
    "mtasts_policy_reason": (_int, (_PolicyP,)),
    "mtasts_policy_result_type": (_int, (_PolicyP,)),
    "mtasts_policy_max_age": (ctypes.c_uint64, (_PolicyP,)),
    "mtasts_policy_fetched_at": (ctypes.c_int64, (_PolicyP,)),
    "mtasts_policy_expires_at": (ctypes.c_int64, (_PolicyP,)),
    "mtasts_policy_mx_count": (_size, (_PolicyP,)),
    "mtasts_policy_mx": (_text, (_PolicyP, _size)),
    "mtasts_policy_body": (ctypes.POINTER(ctypes.c_uint8), (_PolicyP, _sizes)),
    "mtasts_policy_lint_count": (_size, (_PolicyP,)),
    "mtasts_policy_lint": (_text, (_PolicyP, _size)),
    "mtasts_policy_allows_mx": (_int, (_PolicyP, _text)),
    "mtasts_policy_free": (None, (_PolicyP,)),
    "mtasts_policy_decide": (_int, (_PolicyP, _text, _int, ctypes.POINTER(_DecisionP))),
    "mtasts_decision_tls": (_int, (_DecisionP, _int, ctypes.POINTER(_DecisionP))),
    "mtasts_decision_verify": (_int, (_DecisionP, _texts, _sizes, _size, ctypes.POINTER(_int))),
    "mtasts_decision_action": (_int, (_DecisionP,)),
    "mtasts_decision_reason": (_int, (_DecisionP,)),
    "mtasts_decision_result_type": (_int, (_DecisionP,)),
    "mtasts_decision_reason_text": (_text, (_DecisionP,)),
    "mtasts_decision_sni": (_text, (_DecisionP,)),
    "mtasts_decision_enhanced_status": (_text, (_DecisionP,)),
    "mtasts_decision_free": (None, (_DecisionP,)),
    "mtasts_policy_format": (_int, (_PolicyP, _int, _text, _size)),
    "mtasts_socketmap": (_int, (_ContextP, _text, _size, _int, _text, _size)),
    "mtasts_record_select": (_int, (_texts, _sizes, _size, _text, _size)),
}


def _load() -> ctypes.CDLL:
    """Loads the library and declares its functions."""
    name = os.environ.get("MTASTS_LIBRARY") or "libmtasts.so.0"
    try:
        library = ctypes.CDLL(name)
        for function, (result, arguments) in _SIGNATURES.items():
            declared = getattr(library, function)
            declared.restype, declared.argtypes = result, arguments
    except (OSError, AttributeError) as error:
        wanted = f"want libmtasts {__version__} or a later one of the same ABI, or its path in MTASTS_LIBRARY"
        raise ImportError(f"{error}: {wanted}", name="libmtasts", path=name) from error
    return library


_lib = _load()

# ---- between Python and C ----

# A function is given either text or the bytes that it has.
Text = Union[str, bytes]


def _bytes(text: Text) -> bytes:
    if isinstance(text, str):
        return text.encode("utf-8", "surrogateescape")
    if isinstance(text, bytes):
        return text
    raise TypeError(f"{text!r} is {type(text).__name__}, want str or bytes")


def _encoded(text: Text) -> bytes:
    """As C takes it; a NUL would end it early."""
    encoded = _bytes(text)
    if b"\0" in encoded:
        raise ValueError(f"{text!r}: a NUL cannot be in it")
    return encoded


def _several(items: Iterable[Text]) -> List[Text]:
    """A list; a single text would otherwise be taken letter by letter."""
    if isinstance(items, (str, bytes)):
        raise TypeError(f"{items!r} is {type(items).__name__}, want a list of such")
    return list(items)


def _decoded(text: Optional[bytes]) -> str:
    return "" if text is None else text.decode("utf-8", "replace")


def _known(kind: Any, value: int) -> Any:
    """A member of an enum; the plain number if a later library has one more."""
    try:
        return kind(value)
    except ValueError:
        return value


def _last_error() -> str:
    return _decoded(_lib.mtasts_last_error())


def _check(status: int) -> None:
    if status != Status.OK:
        raise _ERRORS.get(status, Error)(status, _last_error())


def _value(result: int) -> int:
    """A value, if it is not minus a status."""
    if result < 0:
        _check(-result)
    return result


def _arrays(items: Iterable[Text]) -> Tuple[Any, Any, int]:
    """Pointers to some bytes, their lengths and their number. The array of pointers keeps the bytes alive."""
    encoded = [_bytes(item) for item in _several(items)]
    count = len(encoded)
    return (ctypes.c_char_p * count)(*encoded), (ctypes.c_size_t * count)(*map(len, encoded)), count


class _Owned:
    """An object of the library, which is freed when nobody has it any more; also not a call that is under way."""

    def __init__(self, pointer: Any, free: Any, *kept: object) -> None:
        self.pointer = pointer
        self._free = free
        # These must live as long as the object.
        self.kept = kept

    def __del__(self) -> None:
        self._free(self.pointer)

    def __reduce__(self) -> Any:
        raise TypeError("what libmtasts has made cannot be pickled or copied in depth; ask again where it is needed")


# ---- answers ----


@dataclass(frozen=True)
class Lookup:
    """What `lookup` finds."""

    mode: Mode
    mx: Tuple[str, ...]

    def allows_mx(self, mx_host: Text) -> bool:
        """Whether the policy lists an MX host, whatever the mode."""
        return match_mx(self.mx, mx_host)


@dataclass(frozen=True)
class Decision:
    """What the mail program may do with one MX host, and why."""

    mx_host: str
    action: Action
    reason: Reason
    reason_text: str
    result_type: ResultType
    sni: Optional[str]
    """The name to send as SNI and to verify against; None if the host has no usable name."""
    enhanced_status: str
    _native: _Owned = field(repr=False, compare=False)

    @property
    def may_deliver(self) -> bool:
        """Whether the message may go to this host: before the handshake, if that meets what `action` asks for."""
        return self.action in _PERMISSIONS

    def after_tls(self, tls_state: TlsState) -> Decision:
        """Decides again after STARTTLS and the handshake."""
        return _decision(self.mx_host, _lib.mtasts_decision_tls, self._native, _c_int(tls_state))

    def verify(self, chain: Sequence[bytes]) -> None:
        """Verifies the certificates that the host showed, in DER, its own first. Raises NotVerified if they do not.

        Goes on with `after_tls(TlsState.OK)`, or with the `tls_state` of the exception.
        """
        der, sizes, count = _arrays(chain)
        result_type = ctypes.c_int(0)
        status = _lib.mtasts_decision_verify(self._native.pointer, der, sizes, count, ctypes.byref(result_type))
        if status == Status.NOT_VERIFIED:
            raise NotVerified(status, _last_error(), _known(ResultType, result_type.value))
        _check(status)


@dataclass(frozen=True)
class Policy:
    """The answer to a question about a domain: its policy, or that it has none, and why."""

    mode: Mode
    domain: str
    id: str
    source: str
    mx: Tuple[str, ...]
    max_age: int
    fetched_at: int
    """Seconds since 1970; 0 without a policy."""
    expires_at: int
    """The last second in which the policy applies; 0 without a policy."""
    reason: Reason
    reason_text: str
    result_type: ResultType
    lints: Tuple[str, ...]
    body: bytes = field(repr=False)
    _native: _Owned = field(repr=False, compare=False)

    def allows_mx(self, mx_host: Text) -> bool:
        """Whether the policy lists an MX host, whatever the mode."""
        return _value(_lib.mtasts_policy_allows_mx(self._native.pointer, _encoded(mx_host))) == 1

    def decide(self, mx_host: Text, dane: Dane = Dane.NOT_CHECKED) -> Decision:
        """Decides about one MX host before a connection is made."""
        name = _encoded(mx_host)
        return _decision(_decoded(name), _lib.mtasts_policy_decide, self._native, name, _c_int(dane))

    def socketmap_reply(self, dialect: Dialect) -> str:
        """The policy as a socketmap server tells it to Sendmail or Postfix, to be sent as a netstring."""
        reply = ctypes.create_string_buffer(REPLY_SIZE)
        _check(_lib.mtasts_policy_format(self._native.pointer, _c_int(dialect), reply, REPLY_SIZE))
        return _decoded(reply.value)


# A number that a later library adds is no permission.
_PERMISSIONS = (Action.DELIVER, Action.DELIVER_REPORT, Action.REQUIRE_ENCRYPTION, Action.REQUIRE_TLS)


def _decision(mx_host: str, function: Any, before: _Owned, *arguments: Any) -> Decision:
    """Makes a decision out of a policy or an earlier decision. Deciding may log, for which the context is kept."""
    pointer = _DecisionP()
    _check(function(before.pointer, *arguments, ctypes.byref(pointer)))
    native = _Owned(pointer, _lib.mtasts_decision_free, *before.kept)
    sni = _lib.mtasts_decision_sni(pointer)
    return Decision(
        mx_host=mx_host,
        action=_known(Action, _value(_lib.mtasts_decision_action(pointer))),
        reason=_known(Reason, _value(_lib.mtasts_decision_reason(pointer))),
        reason_text=_decoded(_lib.mtasts_decision_reason_text(pointer)),
        result_type=_known(ResultType, _value(_lib.mtasts_decision_result_type(pointer))),
        sni=None if sni is None else _decoded(sni),
        enhanced_status=_decoded(_lib.mtasts_decision_enhanced_status(pointer)),
        _native=native,
    )


def _policy(pointer: Any, *kept: object) -> Policy:
    native = _Owned(pointer, _lib.mtasts_policy_free, *kept)
    size = ctypes.c_size_t(0)
    body = _lib.mtasts_policy_body(pointer, ctypes.byref(size))
    return Policy(
        mode=_known(Mode, _value(_lib.mtasts_policy_mode(pointer))),
        domain=_decoded(_lib.mtasts_policy_domain(pointer)),
        id=_decoded(_lib.mtasts_policy_id(pointer)),
        source=_decoded(_lib.mtasts_policy_source(pointer)),
        mx=tuple(_decoded(_lib.mtasts_policy_mx(pointer, at)) for at in range(_lib.mtasts_policy_mx_count(pointer))),
        max_age=_lib.mtasts_policy_max_age(pointer),
        fetched_at=_lib.mtasts_policy_fetched_at(pointer),
        expires_at=_lib.mtasts_policy_expires_at(pointer),
        reason=_known(Reason, _value(_lib.mtasts_policy_reason(pointer))),
        reason_text=_decoded(_lib.mtasts_policy_reason_text(pointer)),
        result_type=_known(ResultType, _value(_lib.mtasts_policy_result_type(pointer))),
        lints=tuple(
            _decoded(_lib.mtasts_policy_lint(pointer, at)) for at in range(_lib.mtasts_policy_lint_count(pointer))
        ),
        body=ctypes.string_at(body, size.value) if body else b"",
        _native=native,
    )


# ---- contexts ----

# Levels of syslog, as Python numbers them.
_LEVELS = {3: logging.ERROR, 4: logging.WARNING, 5: logging.INFO, 7: logging.DEBUG}


def _log_function(logger: logging.Logger) -> Any:
    def log(_user: object, level: int, line: bytes) -> None:
        logger.log(_LEVELS.get(level, logging.ERROR), "%s", _decoded(line))

    return _LogFunction(log)


_logging: weakref.WeakSet[_Owned] = weakref.WeakSet()


@atexit.register
def _silence() -> None:
    """No thread that outlives the interpreter may call into it."""
    for native in list(_logging):
        _lib.mtasts_context_set_log(native.pointer, _LogFunction(0), None)


class Context:
    """One configured instance, with a cache of its own in memory.

    config: path of the configuration. None: the file that MTASTS_CONFIG names, else /etc/mtasts.toml if it exists,
    else the defaults.
    settings: keys of the configuration, which win over the file.
    logger: takes the log lines, from the thread whose call they concern; None: the logger `mtasts`.
    """

    def __init__(
        self,
        config: Union[str, bytes, "os.PathLike[str]", None] = None,
        *,
        settings: Optional[Mapping[str, Union[str, int, bool]]] = None,
        logger: Optional[logging.Logger] = None,
    ) -> None:
        self._native: Optional[_Owned] = None
        pointer = _ContextP()
        path = None if config is None else _encoded(os.fsencode(config))
        _check(_lib.mtasts_context_new(path, ctypes.byref(pointer)))
        log = _log_function(logging.getLogger("mtasts") if logger is None else logger)
        native = _Owned(pointer, _lib.mtasts_context_free, log)
        _check(_lib.mtasts_context_set_log(pointer, log, None))
        _logging.add(native)
        self._native = native
        for key, value in (settings or {}).items():
            self.set(key, value)

    def __enter__(self) -> Context:
        return self

    def __exit__(
        self,
        kind: Optional[Type[BaseException]],
        error: Optional[BaseException],
        traceback: Optional[TracebackType],
    ) -> None:
        self.close()

    def close(self) -> None:
        """Gives the context up. It is freed when no call is under way and none of its answers is left."""
        self._native = None

    def _open(self) -> _Owned:
        """The native context, which lives at least as long as the caller has what this returns."""
        native = self._native
        if native is None:
            raise ValueError("the context is closed")
        return native

    def set(self, key: str, value: Union[str, int, bool]) -> None:
        """Sets one key of the configuration; it acts on later calls."""
        text = str(value).lower() if isinstance(value, bool) else str(value)
        native = self._open()
        _check(_lib.mtasts_context_set(native.pointer, _encoded(key), _encoded(text)))

    def query(
        self,
        domain: Text,
        mx_hosts: Iterable[Text] = (),
        *,
        flags: Flags = Flags(0),
        timeout_ms: int = 0,
    ) -> Policy:
        """Finds the policy that applies to a domain now, for a message with these MX hosts if they are known.

        timeout_ms: the longest that the call may take; 0: deadline_seconds of the configuration.
        """
        native = self._open()
        name = _encoded(domain)
        hosts, _, count = _arrays([_encoded(host) for host in _several(mx_hosts)])
        pointer = _PolicyP()
        _check(
            _lib.mtasts_query_for(
                native.pointer, name, hosts, count, _c_uint(flags), _c_int(timeout_ms), ctypes.byref(pointer)
            )
        )
        return _policy(pointer, native)

    def decide(
        self,
        domain: Text,
        mx_hosts: Iterable[Text],
        dane: Union[Dane, Mapping[str, Dane]] = Dane.NOT_CHECKED,
        *,
        timeout_ms: int = 0,
    ) -> List[Decision]:
        """Asks once about a domain and decides about each of its MX hosts, in their order.

        dane: what is known from DANE about all hosts, or about each; a host that is not in the mapping is not checked.
        """
        hosts = [_decoded(_encoded(host)) for host in _several(mx_hosts)]
        policy = self.query(domain, hosts, timeout_ms=timeout_ms)
        states = dane if isinstance(dane, Mapping) else dict.fromkeys(hosts, dane)
        return [policy.decide(host, states.get(host, Dane.NOT_CHECKED)) for host in hosts]

    def socketmap(self, request: Text, *, timeout_ms: int = 0) -> str:
        """Answers a request of Sendmail or Postfix, such as "postfix example.com": what stands in a netstring.

        timeout_ms: the longest that the call may take; 0: deadline_seconds of the configuration.
        """
        native = self._open()
        encoded = _bytes(request)
        reply = ctypes.create_string_buffer(REPLY_SIZE)
        _check(
            _lib.mtasts_socketmap(
                native.pointer, encoded, len(encoded), _c_int(timeout_ms), reply, REPLY_SIZE
            )
        )
        return _decoded(reply.value)

    def refresh(self, max_domains: int = 0, *, timeout_ms: int = 0) -> Tuple[int, int]:
        """Fetches the cached policies anew for which that is due; how many were fetched, and how many could not be.

        max_domains: at most so many; 0: all. timeout_ms: the longest that the pass may take; 0: deadline_seconds.
        """
        native = self._open()
        done, failed = ctypes.c_uint(0), ctypes.c_uint(0)
        _check(
            _lib.mtasts_refresh(
                native.pointer, _c_uint(max_domains), _c_int(timeout_ms), ctypes.byref(done), ctypes.byref(failed)
            )
        )
        return done.value, failed.value


def _c_int(value: int) -> int:
    """A number that ctypes would otherwise cut down to what fits."""
    if not -(2**31) <= value < 2**31:
        raise ValueError(f"{value} does not fit an int of C")
    return int(value)


def _c_uint(value: int) -> int:
    if not 0 <= value < 2**32:
        raise ValueError(f"{value} does not fit an unsigned int of C")
    return int(value)


# ---- functions ----


def lookup(domain: Text) -> Lookup:
    """Looks up the policy of a domain on the process's default context."""
    patterns = ctypes.create_string_buffer(PATTERNS_SIZE)
    mode = _value(_lib.mtasts_lookup(_encoded(domain), patterns, PATTERNS_SIZE))
    mx = _decoded(patterns.value)
    return Lookup(_known(Mode, mode), tuple(mx.split(":")) if mx else ())


def match_mx(patterns: Union[str, Iterable[str]], mx_host: Text) -> bool:
    """Whether mx patterns, one by one or joined by colons, cover an MX host."""
    joined = patterns if isinstance(patterns, str) else ":".join(patterns)
    return _value(_lib.mtasts_match_mx(_encoded(joined), _encoded(mx_host))) == 1


def parse_policy(body: Text) -> Policy:
    """Reads a policy body. Raises InvalidPolicy."""
    encoded = _bytes(body)
    pointer = _PolicyP()
    _check(_lib.mtasts_policy_parse(encoded, len(encoded), ctypes.byref(pointer)))
    return _policy(pointer)


def select_record(txt: Iterable[Text]) -> str:
    """The id in the STS record among TXT records, each with its strings joined. Raises NoRecord or InvalidRecord."""
    records, sizes, count = _arrays(txt)
    found = ctypes.create_string_buffer(ID_SIZE)
    _check(_lib.mtasts_record_select(records, sizes, count, found, ID_SIZE))
    return _decoded(found.value)


def cleanup() -> None:
    """Closes what the default context of `lookup` holds. A later `lookup` opens anew."""
    _lib.mtasts_cleanup()


def status_text(status: int) -> str:
    """Names a status in a few words."""
    return _decoded(_lib.mtasts_status_text(_c_int(status)))


def version() -> str:
    """The version of the library that is loaded."""
    return _decoded(_lib.mtasts_version())
