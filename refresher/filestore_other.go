//go:build !(darwin || dragonfly || freebsd || illumos || linux || netbsd || openbsd || windows)

package refresher

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
)

var errNoFileStore = fmt.Errorf("refresher: there is no file store for this operating system: %w", errors.ErrUnsupported)

// private refuses everything: what it would have to look at is not known here.
func private(string, fs.FileInfo, fs.FileMode) error { return errNoFileStore }

func tryLockFile(*os.File) (bool, error) { return false, errNoFileStore }

func unlockFile(*os.File) error { return errNoFileStore }

func syncDir(*os.Root) error { return errNoFileStore }
