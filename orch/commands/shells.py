"""The completion scripts of bash, zsh and fish: each hands the words up to the cursor to the program.

What the program prints is one candidate a line, with a tab and its description, or a single line that starts
with a colon: `:files` and `:dirs` are the shell's own business, `:none` offers nothing. Where the shell has
cut a word (bash does at `:` and `=`), its script puts it together again.
"""

from collections.abc import Mapping
from types import MappingProxyType

VARIABLE = "_ORCH_COMPLETE"
"""`source_SHELL` prints a script; `complete` completes the arguments."""

_BASH = r"""# Completion of orch for bash; printed by `orch --show-completion bash`.
_orch_completion() {
    local line=${COMP_LINE:0:COMP_POINT} word row cut="" i
    local -a words=()
    for ((i = 0; i <= COMP_CWORD; i++)); do
        word=${line#"${line%%[![:blank:]]*}"}
        ((i < COMP_CWORD)) && word=${COMP_WORDS[i]}
        if ((i == 0)) || [[ -z $line || $line == [[:blank:]]* ]]; then
            words+=("$word")
        else
            words[${#words[@]} - 1]+=$word
        fi
        line=${line#"${line%%[![:blank:]]*}"}
        line=${line#"$word"}
    done
    word=${words[${#words[@]} - 1]}
    for i in : =; do
        if [[ $COMP_WORDBREAKS == *$i* && $word == *$i* ]]; then
            line=${word%"${word##*$i}"}
            ((${#line} > ${#cut})) && cut=$line
        fi
    done
    COMPREPLY=()
    while IFS= read -r row; do
        case $row in
            :files) compopt -o default 2>/dev/null ;;
            :dirs) compopt +o default -o dirnames 2>/dev/null ;;
            :none) compopt +o default 2>/dev/null ;;
            *) compopt +o default 2>/dev/null; row=${row%%$'\t'*}; COMPREPLY+=("${row#"$cut"}") ;;
        esac
    done < <(_ORCH_COMPLETE=complete "$1" "${words[@]:1}" 2>/dev/null)
}
complete -o default -o nosort -F _orch_completion orch 2>/dev/null ||
    complete -o default -F _orch_completion orch
"""

_ZSH = r"""#compdef orch
# Completion of orch for zsh; printed by `orch --show-completion zsh`.
_orch() {
    local row help
    local -a rows shown
    local program=${~${(Q)words[1]}}
    rows=("${(@f)$(_ORCH_COMPLETE=complete $program "${(@)words[2,CURRENT-1]}" "$PREFIX" 2>/dev/null)}")
    case $rows[1] in
        :files) [[ $PREFIX == --*=* ]] && compset -P '*='; _files ;;
        :dirs) [[ $PREFIX == --*=* ]] && compset -P '*='; _files -/ ;;
        :none | '') return 1 ;;
        *)
            for row in $rows; do
                help=${row#*$'\t'}
                row=${row%%$'\t'*}
                [[ $help == $row ]] && help="" || help=:$help
                shown+=("${row//:/\\:}$help")
            done
            _describe -V orch shown
            ;;
    esac
}
if [[ $funcstack[1] == _orch ]]; then _orch "$@"; else compdef _orch orch; fi
"""

_FISH = r"""# Completion of orch for fish; printed by `orch --show-completion fish`.
function __orch_complete
    set -l words (string escape -- (commandline -opc))
    set -l current (commandline -ct)
    test -n "$current"; or set current ''
    set -l rows (env _ORCH_COMPLETE=complete (commandline -opc)[1] $words[2..-1] $current 2>/dev/null)
    set -l option (string match -r '^--[^=]*=' -- $current)
    set -l begun (string replace -r '^--[^=]*=' '' -- $current)
    switch "$rows[1]"
        case :files
            printf "$option%s\n" (__fish_complete_path "$begun")
        case :dirs
            printf "$option%s\n" (__fish_complete_directories "$begun" '')
        case :none
        case '*'
            printf '%s\n' $rows
    end
end
complete --command orch --no-files --keep-order --arguments '(__orch_complete)'
"""

SCRIPTS: Mapping[str, str] = MappingProxyType({"bash": _BASH, "zsh": _ZSH, "fish": _FISH})
"""By the name of the shell."""
