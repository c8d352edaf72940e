package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// permitted are the licences under which a dependency may come.
var permitted = regexp.MustCompile(`^(Apache-2\.0|MIT|ISC|BSD-3-Clause|BSD-2-Clause|MPL-2\.0)( AND (Apache-2\.0|MIT|ISC|BSD-3-Clause|BSD-2-Clause|MPL-2\.0))*$`)

func TestTheListIsTrue(t *testing.T) {
	if os.Getenv("TOKENLOOP_TEST_REQUIRE") == "" {
		t.Skip("the list is compared where TOKENLOOP_TEST_REQUIRE is set: it asks for every dependency on every system")
	}
	want, err := list("../..")
	require.NoError(t, err)
	have, err := os.ReadFile("LICENCES.md")
	require.NoError(t, err)
	assert.Equal(t, want, string(have), "run: go generate ./internal/licences")
	rows := 0
	for line := range strings.Lines(want) {
		if cells := strings.Split(line, " | "); len(cells) == 3 && !strings.HasPrefix(line, "| Module") {
			assert.Regexp(t, permitted, cells[1], cells[0])
			rows++
		}
	}
	assert.Positive(t, rows)
}

func TestALicenceIsKnownByItsWords(t *testing.T) {
	for words, want := range map[string]string{
		"Permission is hereby granted,\nfree of charge, to any person obtaining a copy of this software":                                  "MIT",
		"Redistribution and use in source and binary forms ... may be used to endorse\n// or promote products derived from this software": "BSD-3-Clause",
		"Redistribution and use in source and binary forms":                                                                               "BSD-2-Clause",
		"Apache License\n Version 2.0": "Apache-2.0",
	} {
		folder := t.TempDir()
		require.NoError(t, os.WriteFile(filepath.Join(folder, "LICENSE"), []byte(words), 0o600))
		id, err := licenceOf(folder)
		require.NoError(t, err)
		assert.Equal(t, want, id)
	}
	_, err := licenceOf(t.TempDir())
	assert.Error(t, err)
}
