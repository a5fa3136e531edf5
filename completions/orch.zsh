#compdef orch
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
