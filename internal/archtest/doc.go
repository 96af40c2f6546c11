// Package archtest holds the tests that keep the layout: which room may import which, where heavy libraries may live,
// that every package says once what it owns, and that no file outgrows its budget. It has no code of its own.
package archtest
