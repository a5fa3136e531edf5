#compdef orch

_orch_completion() {
  eval $(env _TYPER_COMPLETE_ARGS="${words[1,$CURRENT]}" _ORCH_COMPLETE=complete_zsh orch)
}

compdef _orch_completion orch
