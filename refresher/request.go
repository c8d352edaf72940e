package refresher

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync"
)

// attach returns a copy of req with body and the token of header. It reports false when req
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

// bodyAgain returns the body of a request that is replayable once more.
func bodyAgain(req *http.Request) (io.ReadCloser, error) {
	if req.Body == nil || req.Body == http.NoBody {
		return req.Body, nil
	}
	return req.GetBody()
}

var expectContinue = []string{"100-continue"}

// outgoing is a request that may be sent more than once.
type outgoing struct {
	req  *http.Request
	held *heldBody // its body, where that is only sent when the server asks for it
}

// hold returns the body to send the request with. Where that cannot be had twice and
// is only sent when the server asks for it, it is held.
func (o *outgoing) hold(expectContinue bool) io.ReadCloser {
	if replayable(o.req) || !expectContinue && !strings.EqualFold(o.req.Header.Get("Expect"), "100-continue") {
		return o.req.Body
	}
	o.held = &heldBody{body: o.req.Body}
	return o.held
}

// can reports whether the request can be sent once more, and sees to it that nobody
// reads its body before again.
func (o *outgoing) can() bool { return replayable(o.req) || o.held.take() }

// again returns the body once more, after can.
func (o *outgoing) again() (io.ReadCloser, error) {
	if o.held == nil {
		return bodyAgain(o.req)
	}
	o.held = &heldBody{body: o.held.hand()}
	return o.held, nil
}

// attach returns a copy of the request with body and the token of st. It reports
// false when the request has an Authorization of its own.
func (o *outgoing) attach(body io.ReadCloser, st *state) (*http.Request, bool) {
	with, ok := attach(o.req, body, st.header)
	if ok && o.held != nil {
		with.Header["Expect"] = expectContinue
	}
	return with, ok
}

// more is can and again in one.
func (o *outgoing) more() (io.ReadCloser, bool) {
	if !o.can() {
		return nil, false
	}
	body, err := o.again()
	return body, err == nil
}

// done lets the body go.
func (o *outgoing) done() { o.held.letGo() }

// A heldBody is the body of a request that can be sent again as long as nobody
// has read from it. It is closed when it was read or let go.
type heldBody struct {
	body io.ReadCloser

	mu     sync.Mutex
	read   bool // somebody has begun
	closed bool // by the first to send it
	taken  bool // the first to send it does not get it any more
	free   bool // it is closed by whoever closes it
	done   bool // it was
}

var errTaken = errors.New("refresher: the body is for the second try")

func (h *heldBody) Read(p []byte) (int, error) {
	h.mu.Lock()
	if h.taken {
		h.mu.Unlock()
		return 0, errTaken
	}
	h.read = true
	h.mu.Unlock()
	return h.body.Read(p)
}

func (h *heldBody) Close() error {
	h.mu.Lock()
	h.closed = true
	now := !h.taken && !h.done && (h.read || h.free)
	h.done = h.done || now
	h.mu.Unlock()
	if !now {
		return nil
	}
	return h.body.Close()
}

// take reports whether nobody has read the body, and sees to it that nobody does
// before hand.
func (h *heldBody) take() bool {
	if h == nil {
		return false
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.taken = !h.read
	return h.taken
}

// hand returns the body that was taken, to somebody who closes it.
func (h *heldBody) hand() io.ReadCloser {
	h.mu.Lock()
	defer h.mu.Unlock()
	body := h.body
	h.body = nil
	return body
}

// letGo closes the body if it was not handed on and everybody is done with it, or
// lets the last one do it.
func (h *heldBody) letGo() {
	h.mu.Lock()
	h.free = true
	now := h.body != nil && !h.done && (h.taken || h.closed)
	h.done = h.done || now
	h.mu.Unlock()
	if now {
		_ = h.body.Close()
	}
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
