"""The tests' run-time type checker: beartype, taking an int where a float fits."""

from beartype import BeartypeConf, beartype

typechecked = beartype(conf=BeartypeConf(is_pep484_tower=True))
