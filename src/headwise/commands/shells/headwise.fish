# Completion of headwise in fish: headwise completion fish | source, in ~/.config/fish/config.fish
function __headwise_candidates
    set --local before (commandline --tokenize --cut-at-cursor --current-process)
    $before[1] --complete fish $before[2..] (commandline --cut-at-cursor --current-token) 2>/dev/null
end
complete --command headwise --no-files --keep-order --arguments '(__headwise_candidates)'
