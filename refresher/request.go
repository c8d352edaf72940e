package refresher

import (
	"bytes"
	"io"
	"net/http"
	"strings"
)

// attach returns a copy of req with body and header. It reports false when req
// has an Authorization of its own, in whatever case its name is written.
func attach(req *http.Request, body io.ReadCloser, header []string) (*http.Request, bool) {
	h := make(http.Header, len(req.Header)+1)
	for name, values := range req.Header {
		if len(name) == len("Authorization") && len(values) > 0 && strings.EqualFold(name, "Authorization") {
			return nil, false
		}
		h[name] = values[:len(values):len(values)]
	}
	h["Authorization"] = header
	with := req.WithContext(req.Context()) // a shallow copy
	with.Body, with.Header = body, h
	return with, true
}

// replayable reports whether req can be sent a second time.
func replayable(req *http.Request) bool {
	return req.Body == nil || req.Body == http.NoBody || req.GetBody != nil
}

// bodyAgain returns the body of req for the second time.
func bodyAgain(req *http.Request) (io.ReadCloser, error) {
	if req.Body == nil || req.Body == http.NoBody {
		return req.Body, nil
	}
	return req.GetBody()
}

// closeBody closes the body of a request that is not sent, as a RoundTripper
// must.
func closeBody(req *http.Request) {
	if req.Body != nil {
		_ = req.Body.Close()
	}
}

// maxKept limits how much of a refusal's body is kept for the caller, in bytes.
const maxKept = 64 << 10

// keep reads the body of resp and closes it, so that its connection is free for
// the refresh, and lets the caller read it all the same. A body that is longer
// than maxKept ends with io.ErrUnexpectedEOF there.
func keep(resp *http.Response) {
	if resp.Body == nil {
		return
	}
	data, err := io.ReadAll(io.LimitReader(resp.Body, maxKept+1))
	_ = resp.Body.Close()
	if err == nil && len(data) > maxKept {
		data, err = data[:maxKept], io.ErrUnexpectedEOF
	}
	resp.Body = &kept{Reader: bytes.NewReader(data), err: err}
}

// kept is a body that was read already, up to err.
type kept struct {
	*bytes.Reader
	err error
}

func (k *kept) Read(p []byte) (int, error) {
	n, err := k.Reader.Read(p)
	if err == io.EOF && k.err != nil {
		err = k.err
	}
	return n, err
}

// WriteTo does not hide the error from io.Copy.
func (k *kept) WriteTo(w io.Writer) (int64, error) {
	n, err := k.Reader.WriteTo(w)
	if err == nil {
		err = k.err
	}
	return n, err
}

// Close has nothing left to do.
func (k *kept) Close() error { return nil }

// rewind begins at the start again.
func (k *kept) rewind() { _, _ = k.Seek(0, io.SeekStart) }
