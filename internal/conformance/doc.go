// Package conformance feeds the middleware what others have published for
// implementations of JSON Web Signatures, and lets other implementations talk to
// ours. It is a module of its own, so that none of that is a requirement of
// tokenloop. Everything is in its tests:
//
//	rfc*_test.go       the examples of RFC 7515, 7517, 7519, 7520 and 8037
//	wycheproof_test.go the corpus of Project Wycheproof
//	tokens_test.go     a corpus of our own: each way to spoil a token, for each algorithm,
//	                   and in signatures_test.go each way to spoil its signature
//	keys_test.go       the same for the keys of a set
//	peers_test.go      clients, verifiers and a provider from npm, over HTTP, both ways,
//	                   and in proof_test.go the same with proofs of possession (RFC 9449)
//
// A label says whether a token is genuine; the reason, with which it is refused
// here, says where. What is labelled genuine and refused nevertheless has the cause
// beside it, and the other way round.
package conformance
