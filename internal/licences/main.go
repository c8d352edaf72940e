// Command licences writes LICENCES.md, the list of all modules that are built into
// the packages and tests of this repository, with their licences. It runs in this
// folder: go generate ./internal/licences
package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

//go:generate go run .

func main() {
	list, err := list("../..")
	if err == nil {
		err = os.WriteFile("LICENCES.md", []byte(list), 0o644)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "licences:", err)
		os.Exit(1)
	}
}

// Systems are those whose builds are listed.
var systems = []string{"linux", "windows", "darwin"}

// list returns the list of the modules of the workspace at root.
func list(root string) (string, error) {
	folders := map[string]string{} // of each module
	users := map[string][]string{} // of each module
	for _, dir := range []string{".", "issuer/sqlstore", "issuer/redisstore", "refresher/keyring", "refresher/oauth2x", "examples"} {
		for _, system := range systems {
			cmd := exec.Command("go", "list", "-deps", "-test", "-f", "{{with .Module}}{{if not .Main}}{{.Path}}\t{{.Dir}}{{end}}{{end}}", "./...")
			cmd.Dir = filepath.Join(root, dir)
			cmd.Env = append(os.Environ(), "GOOS="+system, "GOWORK=off", "CGO_ENABLED=0")
			cmd.Stderr = os.Stderr
			out, err := cmd.Output()
			if err != nil {
				return "", fmt.Errorf("list the dependencies of %s: %w", dir, err)
			}
			for line := range strings.Lines(string(out)) {
				path, folder, _ := strings.Cut(strings.TrimSpace(line), "\t")
				if path == "" || strings.HasPrefix(path, "github.com/tokenloop/tokenloop") {
					continue
				}
				folders[path] = folder
				if user := strings.Replace(dir, ".", "root", 1); !slices.Contains(users[path], user) {
					users[path] = append(users[path], user)
				}
			}
		}
	}
	var b strings.Builder
	b.WriteString("# Licences of what is built in\n\n" +
		"Each module that a package or a test of this repository imports, directly or not. Written by `go generate ./internal/licences`.\n\n" +
		"| Module | Licence | Used by |\n|---|---|---|\n")
	paths := make([]string, 0, len(folders))
	for path := range folders {
		paths = append(paths, path)
	}
	slices.Sort(paths)
	for _, path := range paths {
		licence, err := licenceOf(folders[path])
		if err != nil {
			return "", fmt.Errorf("%s: %w", path, err)
		}
		fmt.Fprintf(&b, "| %s | %s | %s |\n", path, licence, strings.Join(users[path], ", "))
	}
	return b.String(), nil
}

// known are licences by a sentence that each of them has, and no other.
var known = []struct{ id, sentence string }{
	{"Apache-2.0", "Apache License Version 2.0"},
	{"MPL-2.0", "Mozilla Public License Version 2.0"},
	{"MIT", "Permission is hereby granted, free of charge, to any person obtaining a copy of this software"},
	{"ISC", "distribute this software for any purpose with or without fee"},
	{"BSD-3-Clause", "may be used to endorse or promote products derived from this software"},
	{"BSD-2-Clause", "Redistribution and use in source and binary forms"},
}

// plain returns the words of text alone, in lower case.
func plain(text string) string {
	return strings.Join(strings.Fields(strings.ToLower(strings.NewReplacer("//", " ", ",", " ").Replace(text))), " ")
}

// licenceOf returns the SPDX identifier of the licence in the folder of a module.
func licenceOf(folder string) (string, error) {
	var ids []string
	for _, pattern := range []string{"LICEN[CS]E*", "License*", "COPYING*"} {
		names, err := filepath.Glob(filepath.Join(folder, pattern))
		if err != nil {
			return "", err
		}
		for _, name := range names {
			data, err := os.ReadFile(name)
			if err != nil {
				return "", err
			}
			text := plain(string(data))
			for _, licence := range known {
				has := strings.Contains(text, plain(licence.sentence))
				if has && !(licence.id == "BSD-2-Clause" && slices.Contains(ids, "BSD-3-Clause")) && !slices.Contains(ids, licence.id) {
					ids = append(ids, licence.id)
				}
			}
		}
	}
	if len(ids) == 0 {
		return "", fmt.Errorf("no licence that is known in its folder")
	}
	return strings.Join(ids, " AND "), nil
}
