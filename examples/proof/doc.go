// Package proof holds tests of the promise that no valid session is lost: issuer,
// middleware and refresher together, over connections that are cut. There is
// nothing in it to run or to import.
package proof
