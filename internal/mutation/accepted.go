package main

// accepted are the checks that no test can notice, by their place, and why.
var accepted = map[string]string{
	// refresher
	"refresher/verify.go check: err != nil":            "what could not be split has an empty header, which is refused as TokenFormatInvalid too",
	"refresher/dpopkey.go makeKeyFile: err != nil (2)": "the random source of the system does not fail",
	"refresher/dpopkey.go makeKeyFile: err != nil (3)": "a key that was just made has a form in PKCS #8",
	"refresher/flight.go await: cur.gen == st.gen":     "a flight that ends without an error has replaced its generation",
	"refresher/flight.go land: failed == nil":          "the generation was replaced, as is asked again below",

	"refresher/filestore.go read: err != nil (2)":                             "a part of a file is no tokens, which is an error too",
	"refresher/filestore.go replace: err != nil (3)":                          "a file is renamed in a directory that has just taken it, unless the disk breaks",
	"refresher/filestore.go replace: err != nil (4)":                          "as many file handles are left as for the file before, and a disk does not break on demand",
	"refresher/filestore.go tryLock: err != nil (3)":                          "without it the lock is asked for again, and is had no more than with it",
	"refresher/filestore.go sweep: err != nil":                                "what could not be opened has no names",
	"refresher/filestore_unix.go tryLockFile: !errors.Is(err, syscall.EINTR)": "a file system without locks cannot be had in a test; without it the lock is asked for again",
	"refresher/filelogouts.go makeRoom: len(names) < maxLogouts":              "it is faster: the files would all be read",
	"refresher/unsaved.go saveLater: st.unsaved == nil || t.saveAgain(st)":    "the attempts that would follow find nothing to save",

	// issuer
	"issuer/request.go readMembers: ok":                                                                     "it is a shortcut: jws.Members reads the same from what flat takes",
	"issuer/masterkey.go parseRefreshToken: len(s) > 256":                                                   "it bounds the work: the parts of a token have lengths that are checked, and add up to less",
	"issuer/token.go inspect: err != nil":                                                                   "what could not be split has an empty header, which is refused as TokenFormatInvalid too",
	"issuer/code.go GrantCode: err != nil (3)":                                                              "the claims are JSON: User.fill has just made it",
	"issuer/code.go open: err != nil || json.Unmarshal(plain, &c) != nil":                                   "what could not be opened is empty: a code of another client, which is GrantInvalid too",
	"issuer/code.go tokenByCode: err != nil":                                                                "what could not be opened is empty: a code of another client, which is GrantInvalid too",
	"issuer/code.go tokenByCode: err != nil (4)":                                                            "the first master key, which a session begins with, is always there",
	"issuer/login.go begin: err != nil (3)":                                                                 "the first master key, which a session begins with, is always there",
	"issuer/signup.go signup: err != nil (2)":                                                               "what could not be read has no username, which is RequestInvalid too",
	"issuer/statuspublisher.go signed: last != nil && p.good(last, now)":                                    "it is a shortcut: the same is asked under the lock",
	"issuer/statuspublisher.go signed: last != nil && p.good(last, now) (2)":                                "who waited for the lock would sign the same list once more",
	"issuer/keyring.go document: d != nil && d.slots == slots && (d.until.IsZero() || !now.After(d.until))": "it is faster: the document would be made again",
	"issuer/keyfile.go GenerateKeyPEM: err != nil (2)":                                                      "a key that was just made has a form in PKCS #8",
	"issuer/keyfile.go generate: err != nil":                                                                "the random source of the system does not fail",

	// errors, internal and middleware
	"errors/read.go RetryAfter: err != nil":                                           "what is no date is the zero time, which has passed",
	"errors/respond.go Respond: ok && e.Message == \"\" && status == known.status":    "it is faster: the bytes are those that would be written",
	"internal/dpop/url.go cleanPath: plain(escaped)":                                  "it is faster: the path stays as it is",
	"internal/dpop/url.go From: len(networks) == 0":                                   "it is faster: no network has the address",
	"internal/jws/jws.go String: end > 0 && raw[end] == '\"' && plain(raw[1:end])":    "it is faster: encoding/json reads the same",
	"internal/jws/jws.go value: err != nil (2)":                                       "the decoder fails again where the value is read",
	"middleware/verify.go seenBefore: now.After(e.from) && now.Before(e.until)":       "it is faster: judgeTime says the same",
	"middleware/verify.go authentic: early != nil":                                    "it is faster: the claims would be read again",
	"middleware/verify.go issuerOf: len(m.issuers) == 1":                              "it is faster: of one issuer every name leads to it",
	"middleware/jwk.go decodeKey: !ok || len(set.Keys) != 1":                          "keyfunc was given one key, and returns that",
	"middleware/denylist.go Revoked: session == nil && token == nil && user == nil":   "it is faster: nobody looks at the clock",
	"middleware/statuslist.go current: state != nil && now.Before(state.refreshAt)":   "it is faster: the same is asked under the lock",
	"middleware/localjwks.go current: state != nil && state.seen == string(document)": "it is faster: the same is asked under the lock",
	"middleware/localjwks.go current: last != nil && last.seen == string(document)":   "it is faster: who waited for the lock would read the same document again",
	"middleware/fetch.go get: err != nil":                                             "judgeURL has parsed the URL",
	"middleware/fetch.go host: err != nil":                                            "judgeURL has parsed the URL",
}
