package conformance

import (
	"testing"
	"time"

	jwterrors "github.com/tokenloop/tokenloop/errors"
	"github.com/tokenloop/tokenloop/middleware"
)

// The payload of all of Section 4 (Figure 8).
const frodo = "SXTigJlzIGEgZGFuZ2Vyb3VzIGJ1c2luZXNzLCBGcm9kbywgZ29pbmcgb3V0IHlvdXIgZG9vci4gWW91IHN0ZXAgb250byB0aGUgcm9hZCwgYW5kIGlmIHlvdSBkb24ndCBrZWVwIHlvdXIgZmVldCwgdGhlcmXigJlzIG5vIGtub3dpbmcgd2hlcmUgeW91IG1pZ2h0IGJlIHN3ZXB0IG9mZiB0by4"

// The protected headers and the signatures, by Section.
const (
	header41, signature41 = "eyJhbGciOiJSUzI1NiIsImtpZCI6ImJpbGJvLmJhZ2dpbnNAaG9iYml0b24uZXhhbXBsZSJ9", "MRjdkly7_-oTPTS3AXP41iQIGKa80A0ZmTuV5MEaHoxnW2e5CZ5NlKtainoFmKZopdHM1O2U4mwzJdQx996ivp83xuglII7PNDi84wnB-BDkoBwA78185hX-Es4JIwmDLJK3lfWRa-XtL0RnltuYv746iYTh_qHRD68BNt1uSNCrUCTJDt5aAE6x8wW1Kt9eRo4QPocSadnHXFxnt8Is9UzpERV0ePPQdLuW3IS_de3xyIrDaLGdjluPxUAhb6L2aXic1U12podGU0KLUQSE_oI-ZnmKJ3F4uOZDnd6QZWJushZ41Axf_fcIe8u9ipH84ogoree7vjbU5y18kDquDg"
	header42, signature42 = "eyJhbGciOiJQUzM4NCIsImtpZCI6ImJpbGJvLmJhZ2dpbnNAaG9iYml0b24uZXhhbXBsZSJ9", "cu22eBqkYDKgIlTpzDXGvaFfz6WGoz7fUDcfT0kkOy42miAh2qyBzk1xEsnk2IpN6-tPid6VrklHkqsGqDqHCdP6O8TTB5dDDItllVo6_1OLPpcbUrhiUSMxbbXUvdvWXzg-UD8biiReQFlfz28zGWVsdiNAUf8ZnyPEgVFn442ZdNqiVJRmBqrYRXe8P_ijQ7p8Vdz0TTrxUeT3lm8d9shnr2lfJT8ImUjvAA2Xez2Mlp8cBE5awDzT0qI0n6uiP1aCN_2_jLAeQTlqRHtfa64QQSUmFAAjVKPbByi7xho0uTOcbH510a6GYmJUAfmWjwZ6oD4ifKo8DYM-X72Eaw"
	header43, signature43 = "eyJhbGciOiJFUzUxMiIsImtpZCI6ImJpbGJvLmJhZ2dpbnNAaG9iYml0b24uZXhhbXBsZSJ9", "AE_R_YZCChjn4791jSQCrdPZCNYqHXCTZH0-JZGYNlaAjP2kqaluUIIUnC9qvbu9Plon7KRTzoNEuT4Va2cmL1eJAQy3mtPBu_u_sDDyYjnAMDxXPn7XrT0lw-kvAD890jl8e2puQens_IEKBpHABlsbEPX6sFY8OcGDqoRuBomu9xQ2"
	header44, signature44 = "eyJhbGciOiJIUzI1NiIsImtpZCI6IjAxOGMwYWU1LTRkOWItNDcxYi1iZmQ2LWVlZjMxNGJjNzAzNyJ9", "s0h6KThzkfBBBkLspW1h84VsJZFTsPPqMDA7g1Md7p0"
	header46, signature46 = "eyJhbGciOiJIUzI1NiJ9", "bWUSVaxorn7bEF1djytBd0kHv70Ly5pvbomzMWSOr20"
	signature47           = "xuLifqLGiblpv9zBpuZczWhNj1gARaLV3UxvxhJxZuk"

	header48, signature48 = "eyJhbGciOiJSUzI1NiJ9", "MIsjqtVlOpa71KE-Mss8_Nq2YH4FGhiocsqrgi5NvyG53uoimic1tcMdSg-qptrzZc7CG6Svw2Y13TDIqHzTUrL_lR2ZFcryNFiHkSw129EghGpwkpxaTn_THJTCglNbADko1MZBCdwzJxwqZc-1RlpO2HibUYyXSwO97BSe0_evZKdjvvKSgsIqjytKSeAMbhMBdMma622_BG5t4sdbuCHtFjp9iJmkio47AIwqkZV1aIZsv33uPUqBBCXbYoQJwt7mxPftHmNlGoOSMxR_3thmXTCm4US-xiNOyhbm8afKK64jU6_TPtQHiJeQJxz9G3Tx-083B745_AfYOnlC9w"
	second48              = "ARcVLnaJJaUWG8fG-8t5BREVAuTY8n8YHjwDO1muhcdCoFZFFjfISu0Cdkn9Ybdlmi54ho0x924DUz8sK7ZXkhc7AFM8ObLfTvNCrqcI3Jkl2U5IX3utNhODH6v7xgy1Qahsn0fyb4zSAkje8bAWz4vIfj5pCMYxxm4fgV3q7ZYhm5eD"
)

func TestRFC7520(t *testing.T) {
	secret := middleware.HS256(hmac7520.bytes("k"))
	rs256 := set(rsa7520.public())
	ps384 := set(rsa7520.public("alg", "PS384"))
	es512 := set(p521of7520.public())

	signature := func(protected, header, signature string) string {
		text := `{`
		if protected != "" {
			text += `"protected":"` + protected + `",`
		}
		if header != "" {
			text += `"header":` + header + `,`
		}
		return text + `"signature":"` + signature + `"}`
	}
	general := func(payload string, signatures ...string) string {
		text := ""
		for _, s := range signatures {
			text += "," + s
		}
		return `{` + payload + `"signatures":[` + text[1:] + `]}`
	}
	flattened := func(payload, signature string) string { return `{` + payload + signature[1:] }
	inline := `"payload":"` + frodo + `",`
	kid := `{"kid":"018c0ae5-4d9b-471b-bfd6-eef314bc7037"}`
	algAndKID := `{"alg":"HS256","kid":"018c0ae5-4d9b-471b-bfd6-eef314bc7037"}`

	var vectors []vector
	for _, s := range []struct {
		section           string
		keys              middleware.KeySource
		header, signature string
	}{
		{"4.1, RS256", rs256, header41, signature41},
		{"4.2, PS384", ps384, header42, signature42},
		{"4.3, ES512", es512, header43, signature43},
		{"4.4, HS256", secret, header44, signature44},
	} {
		one := signature(s.header, "", s.signature)
		vectors = append(vectors,
			vector{s.section + ", compact", s.keys, s.header + "." + frodo + "." + s.signature, true, jwterrors.TokenPayloadInvalid, noClaims},
			vector{s.section + ", general", s.keys, general(inline, one), true, jwterrors.TokenFormatInvalid, json7515},
			vector{s.section + ", flattened", s.keys, flattened(inline, one), true, jwterrors.TokenFormatInvalid, json7515},
		)
	}
	detached := signature(header44, "", signature44)
	both := signature(header46, kid, signature46)
	none := signature("", algAndKID, signature47)
	check(t, time.Now(), append(vectors, []vector{
		{"4.2, PS384, where the key is for RS256", rs256, header42 + "." + frodo + "." + signature42, true, jwterrors.TokenSignatureInvalid,
			`an RSA key without "alg" is for RS256 alone (RFC 8725, Section 3.1)`},
		{"4.5, detached, compact", secret, header44 + ".." + signature44, true, jwterrors.TokenFormatInvalid, "a token has its claims with it"},
		{"4.5, detached, general", secret, general("", detached), true, jwterrors.TokenFormatInvalid, json7515},
		{"4.5, detached, flattened", secret, flattened("", detached), true, jwterrors.TokenFormatInvalid, json7515},
		{"4.6, a header that is protected in part, general", secret, general(inline, both), true, jwterrors.TokenFormatInvalid, json7515},
		{"4.6, a header that is protected in part, flattened", secret, flattened(inline, both), true, jwterrors.TokenFormatInvalid, json7515},
		{"4.6, its protected part, compact", secret, header46 + "." + frodo + "." + signature46, true, jwterrors.TokenPayloadInvalid, noClaims},
		{"4.7, no protected header, general", secret, general(inline, none), true, jwterrors.TokenFormatInvalid, json7515},
		{"4.7, no protected header, flattened", secret, flattened(inline, none), true, jwterrors.TokenFormatInvalid, json7515},
		{"4.7, without a header, compact", secret, "." + frodo + "." + signature47, false, jwterrors.TokenFormatInvalid, "a compact JWS has a header"},
		{"4.8, three signatures", rs256, general(inline,
			signature(header48, `{"kid":"bilbo.baggins@hobbiton.example"}`, signature48),
			signature("", `{"alg":"ES512","kid":"bilbo.baggins@hobbiton.example"}`, second48),
			signature(header44, "", signature44)), true, jwterrors.TokenFormatInvalid, json7515},
		{"4.8, the first one, compact", rs256, header48 + "." + frodo + "." + signature48, true, jwterrors.TokenPayloadInvalid, noClaims},
		{"4.8, the third one, compact", secret, header44 + "." + frodo + "." + signature44, true, jwterrors.TokenPayloadInvalid, noClaims},
	}...))
}
