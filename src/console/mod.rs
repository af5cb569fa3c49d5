//! Console: HTTP/JSON on the control socket; `/metrics`, `/live`, `/ready` on loopback.
