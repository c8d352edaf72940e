package main

// accepted are the checks that no test can notice, by their place, and why.
var accepted = map[string]string{}
