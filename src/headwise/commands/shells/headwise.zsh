#compdef headwise
# Completion of headwise in zsh: eval "$(headwise completion zsh)" in ~/.zshrc, behind compinit
_headwise() {
    local ends word meaning current=$PREFIX program=${~words[1]}
    local -a before=() exactly=() whole=() whole_shown=() open=() open_shown=()
    (( CURRENT > 2 )) && before=("${(@Q)words[2,CURRENT-1]}")
    case $compstate[quote] in
        (\') ;;  # nothing between single quotes means anything else
        (\") current=${(Q):-\"$PREFIX\"} ;;
        (*) current=${(Q)PREFIX} ;;
    esac
    while IFS=$'\t' read -r ends word meaning; do
        if [[ -z $compstate[quote] ]]; then  # else zsh quotes as the open quote asks for
            word=${(q)word} word=${word/#\\~/\~}
        fi
        if (( ends )); then
            whole+=("$word") whole_shown+=("$word${meaning:+  -- $meaning}")
        else
            open+=("$word") open_shown+=("$word${meaning:+  -- $meaning}")
        fi
    done < <("$program" --complete zsh "${before[@]}" "$current" 2>/dev/null)
    # What is typed may be quoted in another way than the words are, which are known to go on from it
    [[ -z $compstate[quote] ]] && exactly=(-U -Q)
    (( $#whole )) && compadd "${exactly[@]}" -l -d whole_shown -a whole
    (( $#open )) && compadd "${exactly[@]}" -l -S '' -d open_shown -a open
    return $(( $#whole + $#open == 0 ))
}
# In a file of $fpath the function itself is called, elsewhere it is registered
if [[ ${funcstack[1]} == _headwise ]]; then
    _headwise "$@"
else
    compdef _headwise headwise
fi
