package refresher

import (
	"errors"
	"io/fs"
	"os"
	"syscall"
	"unsafe"
)

// private allows everything: the modes that Go reports say nothing about who may
// use a file here.
func private(string, fs.FileInfo, fs.FileMode) error { return nil }

var (
	kernel32     = syscall.NewLazyDLL("kernel32.dll")
	lockFileEx   = kernel32.NewProc("LockFileEx")
	unlockFileEx = kernel32.NewProc("UnlockFileEx")
)

const (
	lockfileFailImmediately = 1
	lockfileExclusiveLock   = 2

	errorLockViolation = syscall.Errno(33)
)

// tryLockFile takes the lock on the first byte of f, and reports false when
// somebody else has it.
func tryLockFile(f *os.File) (bool, error) {
	var at syscall.Overlapped
	ok, _, err := lockFileEx.Call(f.Fd(), lockfileFailImmediately|lockfileExclusiveLock, 0, 1, 0, uintptr(unsafe.Pointer(&at)))
	switch {
	case ok != 0:
		return true, nil
	case errors.Is(err, errorLockViolation), errors.Is(err, syscall.ERROR_IO_PENDING):
		return false, nil
	}
	return false, err
}

func unlockFile(f *os.File) error {
	var at syscall.Overlapped
	if ok, _, err := unlockFileEx.Call(f.Fd(), 0, 1, 0, uintptr(unsafe.Pointer(&at))); ok == 0 {
		return err
	}
	return nil
}

// syncDir does nothing: a directory cannot be synced here.
func syncDir(*os.Root) error { return nil }
