# Every rule of the ruleset that is inside TFLint. Those of its AWS ruleset are not: that is fetched from GitHub.
plugin "terraform" {
  enabled = true
  preset  = "all"
}
