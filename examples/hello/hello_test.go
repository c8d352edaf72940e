package main

import (
	"os"
	"strings"
	"testing"
)

// The README shows this program, to the letter.
func TestTheReadmeShowsThisProgram(t *testing.T) {
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	program, err := os.ReadFile("main.go")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(readme), "```go\n"+string(program)+"```\n") {
		t.Error("the program in README.md is not that of main.go")
	}
}

// DC-04: the issuer is a handler that is mounted as it is.
func Example() {
	main()
	// Output: the orders of alice
}
