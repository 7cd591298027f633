"""`rlhf COMMAND …`: finds the command and calls it; each is imported only when it is asked for."""

import os
import sys
from collections.abc import Sequence
from typing import NoReturn

from rlhf import __version__
from rlhf.errors import STATUS_FAILED, STATUS_USER, RLHFError, TrainingError
from rlhf.runtime.disk import disk_error

HELP = """usage: rlhf COMMAND …

  sample        K answers to each prompt from one or several models
  label         serve | import | export | stats | simulate …: what people prefer, and the page
  chat          talk to a model, or ask it one thing with --prompt
  serve         an OpenAI-compatible API and a chat page over one or several models
  data          check | convert: rows before they cost a training run
  report        one HTML file from a run folder; --watch draws it again as the folder grows
  merge         one model out of a LoRA adapter and its base
  launch        run a recipe on N processes, with the recipe's own exit status

`rlhf COMMAND --help` lists what each takes, `rlhf --version` names the version."""
DATA_HELP = """usage: rlhf data check | convert …

  check         rows of a file before they cost a training run
  convert       a file of another shape into rows

`rlhf data COMMAND --help` lists what each takes."""


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and exit: 0 done, 1 a failure in the run, 2 the user's mistake."""
    words = list(sys.argv[1:] if argv is None else argv)
    if "RLHF_PARENT" in os.environ:
        from rlhf.runtime.orphan import end_with_parent

        end_with_parent()
    try:
        sys.exit(run_command(words))
    except RLHFError as error:
        sys.exit(_fail(words, error))
    except KeyboardInterrupt:
        _say(words, "interrupted")
        sys.exit(130)
    except Exception as error:
        if (told := disk_error(error)) is None:
            raise
        sys.exit(_fail(words, told))


def run_command(words: Sequence[str]) -> int:
    """The exit status of `rlhf WORDS`."""
    match words:
        case ["sample", *rest]:
            from rlhf.labels.candidates import main as sample

            return sample(rest)
        case ["label", *rest]:
            from rlhf.labels.cli import main as label

            return label(rest)
        case ["chat", *rest]:
            from rlhf.chat.terminal import main as chat

            return chat(rest)
        case ["serve", *rest]:
            from rlhf.chat.web.serve import main as serve

            return serve(rest)
        case ["data", "check", *rest]:
            from rlhf.data.check import main as check

            check(rest)
        case ["data", "show", *rest]:
            from rlhf.data.show_command import main as show

            return show(rest)
        case ["data", "convert", *rest]:
            from rlhf.data.convert import main as convert

            convert(rest)
        case ["report", *rest]:
            from rlhf.report.write import main as report

            return report(rest)
        case ["merge", *rest]:
            from rlhf.models.merge import main as merge

            return merge(rest)
        case ["launch", *rest]:
            from rlhf.runtime.launcher import main as launch

            return launch(rest)
        case ["--version"]:
            print(f"rlhf {__version__}")
        case ["data"] | ["data", "-h" | "--help"]:
            print(DATA_HELP)
            return 0 if words[1:] else STATUS_USER
        case [] | ["-h" | "--help"]:
            print(HELP)
            return 0 if words else STATUS_USER
        case _:
            _say([], f"no command {' '.join(words[:2])!r}; `rlhf --help` lists them.")
            return STATUS_USER
    return 0


def _fail(words: Sequence[str], error: RLHFError) -> int:
    _say(words, f"{error} [{error.code}]")
    return STATUS_FAILED if isinstance(error, TrainingError) else STATUS_USER


def _say(words: Sequence[str], message: object) -> None:
    print(f"{' '.join(['rlhf', *words[:1]])}: {message}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
