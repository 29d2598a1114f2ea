"""``smtpx completion``: what completes this command in a shell."""

from __future__ import annotations

import argparse

from smtpx.cli import COMMANDS
from smtpx.cli._console import Console
from smtpx.cli._running import Parser, loaded

__all__ = ["parser", "run"]

_EPILOG = """\
examples:
  eval "$(smtpx completion bash)"
  smtpx completion zsh > ~/.zfunc/_smtpx
  smtpx completion fish > ~/.config/fish/completions/smtpx.fish
"""


def parser() -> Parser:
    """What it takes."""
    parser = Parser("completion", "Print a script that completes smtpx in a shell.", _EPILOG)
    parser.add_argument("shell", choices=("bash", "zsh", "fish"))
    return parser


def run(arguments: argparse.Namespace, console: Console) -> int:
    """Print the script."""
    options = {name: _options(loaded(name).parser()) for name in COMMANDS}
    script = {"bash": _bash, "zsh": _zsh, "fish": _fish}[arguments.shell](options)
    console.result(script)
    console.document("completion", 0, {"script": script})
    return 0


def _options(parser: argparse.ArgumentParser) -> list[str]:
    return [
        option
        for action in parser._actions
        if action.help != argparse.SUPPRESS
        for option in action.option_strings
    ]


def _bash(options: dict[str, list[str]]) -> str:
    cases = "".join(f"    {name}) words='{' '.join(each)}' ;;\n" for name, each in options.items())
    return (
        "_smtpx() {\n"
        '  local word="${COMP_WORDS[COMP_CWORD]}" words=""\n'
        '  if [ "$COMP_CWORD" = 1 ]; then\n'
        f"    words='{' '.join(options)} --help --version'\n"
        '  else case "${COMP_WORDS[1]}" in\n'
        f"{cases}"
        "  esac; fi\n"
        '  COMPREPLY=($(compgen -W "$words" -- "$word"))\n'
        "}\n"
        "complete -o default -F _smtpx smtpx"
    )


def _zsh(options: dict[str, list[str]]) -> str:
    cases = "".join(
        f"    {name}) compadd -- {' '.join(each)} ;;\n" for name, each in options.items()
    )
    return (
        "#compdef smtpx\n"
        "_smtpx() {\n"
        "  if (( CURRENT == 2 )); then\n"
        f"    compadd -- {' '.join(options)} --help --version\n"
        "    return\n"
        "  fi\n"
        '  case "${words[2]}" in\n'
        f"{cases}"
        "  esac\n"
        "  _files\n"
        "}\n"
        "compdef _smtpx smtpx"
    )


def _fish(options: dict[str, list[str]]) -> str:
    lines = [
        f"complete -c smtpx -n __fish_use_subcommand -f -a {name} -d '{purpose}'"
        for name, purpose in COMMANDS.items()
    ]
    for name, each in options.items():
        for option in each:
            kind = "-l" if option.startswith("--") else "-s"
            lines.append(
                f"complete -c smtpx -n '__fish_seen_subcommand_from {name}' "
                f"{kind} {option.lstrip('-')}"
            )
    return "\n".join(lines)
