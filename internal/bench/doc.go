// Package bench measures tokenloop side by side with its peers: other JWT
// middlewares and libraries, the standard library's cryptography alone, and the
// least that could be done. It is a module of its own, so that none of the peers
// is a requirement of tokenloop. Everything is in its tests; README.md says how
// to run it and what the numbers mean.
//
// A row is a benchmark whose name ends in "impl=", and who did the work. Rows
// whose names are equal up to there did the same work in the same process, and
// may be compared.
package bench
