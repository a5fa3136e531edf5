# Completion of orch for fish; printed by `orch --show-completion fish`.
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
