# Completion of headwise in bash (3.2 and later): eval "$(headwise completion bash)" in ~/.bashrc
_headwise() {
    # The words are read from the line: in COMP_WORDS bash has parted them at = and :
    local program=$1 candidate
    [[ $program == "~/"* ]] && program=$HOME/${program#"~/"}
    COMPREPLY=()
    while IFS= read -r candidate; do
        COMPREPLY+=("$candidate")
    done < <("$program" --complete bash "$COMP_WORDBREAKS" "${COMP_LINE:0:COMP_POINT}" 2>/dev/null)
}
# A word that is finished comes with the space behind it
complete -o nospace -F _headwise headwise
