// Package requirements holds the repository as a whole to what the project
// promises: the numbered requirements each have a test, and the layout and the
// dependencies are what they should be. It has tests only.
package requirements
