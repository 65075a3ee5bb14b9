// Package archtest holds the module to its own rules: which way imports go, how large things get, what is documented, how
// tests behave. It is nothing but tests, which read the source as text and syntax; it must never import what it judges, and
// an exception must never be made without a reason beside it.
package archtest
