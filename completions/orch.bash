# Completion of orch for bash; printed by `orch --show-completion bash`.
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
