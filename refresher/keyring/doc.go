// Package keyring keeps the tokens of a refresher.Transport in the keychain of
// the operating system: the Keychain of macOS, the Credential Manager of Windows,
// and what answers for the Secret Service elsewhere, such as GNOME Keyring or
// KWallet.
//
//	keychain, err := keyring.Open(ctx, keyring.Config{
//		Service: "my-program",
//		User:    "alice@example.com",
//		File:    filepath.Join(configDir, "my-program", "session"),
//	})
//	...
//	t, err := refresher.New(refresher.Config{
//		AuthURL: "https://id.example.com/auth",
//		Origins: []string{"https://api.example.com"},
//		Store:   &refresher.SplitStore{Secure: keychain},
//	})
//
// # What fits
//
// A keychain takes little: 2560 bytes on Windows, and about as much on macOS. A
// Store refuses more on every system, so that what works on one works on all. A
// refresh token fits, an access token often does not. A refresher.SplitStore
// keeps only the former here.
//
// # Where no keychain answers
//
// On a server, in a container and over SSH there often is none. Then Open returns
// an error, unless Config.FallbackToFile is set: the tokens are kept in a file
// then, not encrypted, and Store.Fallback says why. Tokens that have once come to
// lie in the file stay there until they are cleared, also for processes that a
// keychain does answer: so all of them have the newest.
//
// # What a keychain protects from
//
// It is encrypted while nobody is logged in at the machine, and other users do
// not get at it. Programs of the same user mostly do, and so does a debugger.
package keyring
