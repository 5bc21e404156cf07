#!/usr/bin/env bash
# Put the report on a pull request: one comment for each name, written anew at each run. action.yml runs it; it needs gh.
#
#   COMMENT_NAME  tells the comments of several audits apart     COMMENT_PULL  number of the pull request
#   COMMENT_PAGE  the report in Markdown                         GH_TOKEN      with the permission pull-requests: write
set -euo pipefail

[[ $COMMENT_PULL =~ ^[0-9]+$ ]] || { echo "comment: no number of a pull request." >&2; exit 2; }
# Only these characters: the mark stands in HTML and in an expression.
mark="<!-- clipclean ${COMMENT_NAME//[^A-Za-z0-9._]/_} -->"
body=$(mktemp)
trap 'rm -f -- "$body"' EXIT
printf '%s\n' "$mark" >"$body"
if (($(wc -c <"$COMMENT_PAGE") < 60000)); then # GitHub takes 65,536 characters
  cat <"$COMMENT_PAGE" >>"$body"
else
  printf '## clipclean\n\nThe report is too long for a comment: see the summary of the run.\n' >>"$body"
fi
comments="repos/$GITHUB_REPOSITORY/issues/$COMMENT_PULL/comments"
own=".[] | select(.user.type == \"Bot\" and (.body | startswith(\"$mark\"))) | .id"
known=$(gh api --paginate "$comments" --jq "$own")
known=${known##*$'\n'}
if [[ $known =~ ^[0-9]+$ ]]; then
  gh api --silent --method PATCH "repos/$GITHUB_REPOSITORY/issues/comments/$known" --field "body=@$body"
else
  gh api --silent --method POST "$comments" --field "body=@$body"
fi
