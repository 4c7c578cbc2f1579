"""The declarations of mtasts.py are those of the header, and it is Python 3.9 throughout."""

import ast
import ctypes
import enum
import re

import pytest

import mtasts

FOR_EXIM = {"mtasts_exim", "mtasts_exim_mode", "mtasts_exim_certificate"}

# What a type of the header is in ctypes. Bytes of a certain length may be handed over as text may.
C_TYPES = {
    "void": None,
    "int": ctypes.c_int,
    "unsigned int": ctypes.c_uint,
    "size_t": ctypes.c_size_t,
    "uint64_t": ctypes.c_uint64,
    "int64_t": ctypes.c_int64,
    "void *": ctypes.c_void_p,
    "const char *": ctypes.c_char_p,
    "char *": ctypes.c_char_p,
    "const char *const *": ctypes.POINTER(ctypes.c_char_p),
    "const uint8_t *const *": ctypes.POINTER(ctypes.c_char_p),
    "const size_t *": ctypes.POINTER(ctypes.c_size_t),
    "size_t *": ctypes.POINTER(ctypes.c_size_t),
    "unsigned int *": ctypes.POINTER(ctypes.c_uint),
    "int *": ctypes.POINTER(ctypes.c_int),
    "mtasts_log_function": mtasts._LogFunction,
}
for name, native in [
    ("context", mtasts._NativeContext),
    ("policy", mtasts._NativePolicy),
    ("decision", mtasts._NativeDecision),
]:
    C_TYPES[f"struct mtasts_{name} *"] = C_TYPES[f"const struct mtasts_{name} *"] = ctypes.POINTER(native)
    C_TYPES[f"struct mtasts_{name} **"] = ctypes.POINTER(ctypes.POINTER(native))

# The same type is one thing as an argument and another as a result.
AS_ARGUMENT = {**C_TYPES, "const uint8_t *": ctypes.c_char_p}
AS_RESULT = {**C_TYPES, "const uint8_t *": ctypes.POINTER(ctypes.c_uint8)}


@pytest.fixture
def code(root):
    """The header without comments and with single blanks."""
    header = (root / "include/mtasts.h").read_text()
    plain = re.sub(r"^#.*|//.*", "", re.sub(r"/\*.*?\*/", "", header, flags=re.DOTALL), flags=re.MULTILINE)
    return re.sub(r"[ \n]+", " ", plain)


def declared(code):
    """Functions with the type of the result and those of the arguments."""
    functions = {}
    for result, name, arguments in re.findall(r"([a-z0-9_ ]*[a-z0-9_] \**)(mtasts_\w+)\(([^()]*)\);", code):
        split = [re.fullmatch(r" ?(.*?[ *])(\w+) ?", argument) for argument in arguments.split(",")]
        types = [] if arguments == "void" else [found.group(1).strip() for found in split]
        functions[name] = (result.strip(), types)
    return functions


def test_each_function_is_declared_as_in_the_header(code):
    functions = declared(code)
    assert len(functions) > 40
    assert set(mtasts._SIGNATURES) == set(functions) - FOR_EXIM
    for name, (result, arguments) in functions.items():
        if name not in FOR_EXIM:
            wanted = (AS_RESULT[result], tuple(AS_ARGUMENT[argument] for argument in arguments))
            assert mtasts._SIGNATURES[name] == wanted, name
            function = getattr(mtasts._lib, name)
            assert (function.restype, tuple(function.argtypes)) == wanted, name


def test_the_log_function_is_declared_as_in_the_header(code):
    assert "typedef void (*mtasts_log_function)(void *user, int level, const char *line);" in code
    assert mtasts._LogFunction._restype_ is None
    assert mtasts._LogFunction._argtypes_ == (ctypes.c_void_p, ctypes.c_int, ctypes.c_char_p)


ENUMS = {
    "REASON": mtasts.Reason,
    "RESULT_TYPE": mtasts.ResultType,
    "ACTION": mtasts.Action,
    "DANE": mtasts.Dane,
    "TLS": mtasts.TlsState,
    "MODE": mtasts.Mode,
    "DIALECT": mtasts.Dialect,
}


def constants(root):
    """Every number of the header by its name."""
    header = (root / "include/mtasts.h").read_text()
    found = re.findall(r"^#define MTASTS_(\w+) (\d+)$|^    MTASTS_(\w+) = (\d+),$", header, re.MULTILINE)
    return {name or member: int(number or value) for name, number, member, value in found}


def test_each_constant_is_the_one_of_the_header(root):
    numbers = constants(root)
    assert len(numbers) > 90
    for size in ("PATTERNS_SIZE", "ID_SIZE", "REPLY_SIZE"):
        assert numbers.pop(size) == getattr(mtasts, size)
    version = [str(numbers.pop(f"VERSION_{part}")) for part in ("MAJOR", "MINOR", "PATCH")]
    assert ".".join(version) == mtasts.__version__ == mtasts.version()
    flags = {name: numbers.pop(name) for name in ("CACHE_ONLY", "REFRESH")}
    assert {flag.name: flag.value for flag in mtasts.Flags} == flags
    for prefix, kind in ENUMS.items():
        members = {name[len(prefix) + 1 :]: numbers.pop(name) for name in list(numbers) if name.startswith(prefix + "_")}
        assert {member.name: member.value for member in kind} == members
    assert {member.name: member.value for member in mtasts.Status} == numbers


def test_everything_public_is_named_and_explained():
    public = {
        name
        for name, value in vars(mtasts).items()
        if getattr(value, "__module__", None) == "mtasts" and not name.startswith("_")
    }
    assert public == set(mtasts.__all__)
    for name in public:
        value = getattr(mtasts, name)
        assert value.__doc__ and not value.__doc__.startswith("mtasts."), name
        if isinstance(value, type) and not issubclass(value, (enum.Enum, Exception)):
            for method, function in vars(value).items():
                assert method.startswith("_") or not callable(function) or function.__doc__, (name, method)


def test_python_3_9_reads_every_file(root):
    files = [*(root / "examples/python").glob("*.py"), *(root / "tests/python").glob("*.py")]
    assert len(files) > 4
    for file in files:
        ast.parse(file.read_text(), str(file), feature_version=(3, 9))
