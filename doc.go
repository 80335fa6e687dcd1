// Package leadglass is the root of the module; it holds only the test that
// keeps the house in order (house.txt, house_test.go). Start reading at
// README.md, then docs/walks.md, then DESIGN.md.
package leadglass
