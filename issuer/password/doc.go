// Package password keeps the passwords of users as hashes, and turns a look-up
// of users into the Authenticate of an issuer:
//
//	hasher, err := password.New(password.Config{})
//	...
//	users, err := password.NewAuthenticator(password.AuthenticatorConfig{
//		Hasher: hasher,
//		Lookup: lookup,
//		Update: update,
//	})
//	...
//	iss, err := issuer.New(issuer.Config{Authenticate: users.Authenticate}) // and what else it needs
//
// Hashes are made with argon2id (RFC 9106), or with bcrypt. The defaults are those
// of the OWASP Password Storage Cheat Sheet.
//
// # Forms of a hash
//
//	$argon2id$v=19$m=19456,t=2,p=1$<salt>$<hash>   argon2id; base64 without padding (PHC string)
//	$2a$12$<salt and hash>                         bcrypt; $2b$ and $2y$ are read as the same
//	$bcrypt-hmac-sha384$v=1$2a$12$<salt and hash>  bcrypt with Config.PreHash
//
// The third is bcrypt of the 64 characters base64(HMAC-SHA-384(key, password)),
// in the standard alphabet, where key is the text "tokenloop bcrypt v1". The key
// is no secret: it keeps these hashes apart from SHA-384 sums of the same
// passwords, which may have leaked elsewhere.
//
// What a stored hash asks for is bounded before it is done: its memory by
// Config.MaxMemory, and at most 16 passes, 16 lanes, a salt of 8 to 64 bytes and a
// hash of 16 to 64; for bcrypt a cost of 4 to 14.
//
// # Passwords
//
// A password is compared byte by byte. Trimming it, and putting it into one
// Unicode form, such as NFC or that of RFC 8265, is left to the caller, who must do
// it both when a password is set and at each login. So is a list of passwords that
// are too common (NIST SP 800-63B).
//
// A password has at most 1024 bytes. With bcrypt alone it has at most 72, and no
// NUL byte: bcrypt ignores what comes after 72, and with a NUL several passwords
// have one hash. Nothing is ever cut: use argon2id, or PreHash.
//
// # Time
//
// [Hasher.Verify] works as long for a user that does not exist, one without a
// password, and one with a wrong password, as long as stored hashes have the
// parameters of Config. After a change of these, hashes that are not renewed yet
// take another time, and so tell that their user exists. How long a look-up takes
// is the caller's affair.
package password
