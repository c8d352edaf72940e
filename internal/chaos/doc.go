// Package chaos runs examples/server as its users do, as processes, for the two
// programs beside it: cmd/load, which measures a server under load, and cmd/chaos,
// which kills, cuts and shifts while it watches that the promises hold. It is a
// module of its own, since it builds the examples, which have the drivers of all
// stores. README.md says how to run it and what it looks at.
package chaos
