// Package qr draws a QR code (ISO/IEC 18004, byte mode, error correction
// level M) as a PNG image.
//
// PNG is all of it. The package exists, rather than a library, because what is
// drawn holds the seed of an MFA device and is drawn inside the authority: every
// buffer here is made once, of its final size, and wiped, but for the image
// itself, which the caller wipes. For the same reason the image is not
// compressed; a compressor would keep a copy of its window.
//
// Not done here: other modes and levels, which would make smaller codes, and
// versions above 25 (997 bytes).
package qr

import (
	"encoding/binary"
	"errors"
	"hash/crc32"

	"github.com/leadglass/leadglass/cryptography/secret"
)

// ErrTooLong is returned for texts that need a larger code than version 25.
var ErrTooLong = errors.New("qr: the text is too long")

const (
	maxVersion = 25
	quiet      = 4 // modules of white around the code (section 5.3.8)
	scale      = 4 // pixels of a module
)

// Of each version at level M (table 9): error correction codewords of a block, and blocks.
var (
	checkLen = [maxVersion + 1]int{0, 10, 16, 26, 18, 24, 16, 18, 22, 22, 26, 30, 22, 22, 24, 24, 28, 28, 26, 26, 26, 26, 28, 28, 28, 28}
	blocks   = [maxVersion + 1]int{0, 1, 1, 1, 2, 2, 4, 4, 4, 5, 5, 5, 8, 9, 9, 10, 10, 11, 13, 14, 16, 17, 17, 18, 20, 21}
)

// codewords is how many bytes a version holds, error correction included: the
// modules that are no pattern and no format or version information.
func codewords(version int) int {
	n := (16*version+128)*version + 64
	if version >= 2 {
		align := version/7 + 2
		n -= (25*align-10)*align - 55
		if version >= 7 {
			n -= 36
		}
	}
	return n / 8
}

// PNG draws text, with one bit per pixel.
func PNG(text []byte) ([]byte, error) {
	c, err := newCode(text)
	if err != nil {
		return nil, err
	}
	defer c.wipe()
	return c.png(), nil
}

// A code is a QR code being drawn. Rows and columns start at 0.
type code struct {
	version, size int
	dark          []bool // size × size
	fixed         []bool // no data: patterns and information
}

func (c *code) wipe() { clear(c.dark) }

func newCode(text []byte) (*code, error) {
	version, room := 0, 0
	for v := 1; v <= maxVersion && version == 0; v++ {
		head := 2 // mode and length: 12 bits, from version 10 on 20
		if v >= 10 {
			head = 3
		}
		room = codewords(v) - checkLen[v]*blocks[v]
		if len(text)+head <= room {
			version = v
		}
	}
	if version == 0 {
		return nil, ErrTooLong
	}
	size := 17 + 4*version
	c := &code{version: version, size: size, dark: make([]bool, size*size), fixed: make([]bool, size*size)}
	c.patterns()
	data := encode(text, version, room)
	defer secret.Wipe(data)
	all := interleave(data, version)
	defer secret.Wipe(all)
	c.place(all)
	c.mask()
	return c, nil
}

// encode makes the data codewords: mode, length, text, padding (section 7.4).
func encode(text []byte, version, room int) []byte {
	out := make([]byte, room)
	bit := 0
	put := func(v uint32, n int) {
		for i := n - 1; i >= 0; i-- {
			out[bit/8] |= byte(v>>i&1) << (7 - bit%8)
			bit++
		}
	}
	put(0b0100, 4)
	if version < 10 {
		put(uint32(len(text)), 8)
	} else {
		put(uint32(len(text)), 16)
	}
	for _, b := range text {
		put(uint32(b), 8)
	}
	// The terminator is what is zero already.
	bit = min(bit+4, 8*room)
	for i, pad := (bit+7)/8, byte(0xec); i < room; i, pad = i+1, pad^0xec^0x11 {
		out[i] = pad
	}
	return out
}

// interleave splits data into blocks, computes the check codewords of each,
// and takes one codeword of each in turn (section 7.6).
func interleave(data []byte, version int) []byte {
	n, check := blocks[version], checkLen[version]
	total := codewords(version)
	short := total/n - check // data codewords of a short block; the last blocks hold one more
	long := total % n
	out := make([]byte, 0, total)
	checks := make([]byte, n*check)
	defer secret.Wipe(checks)
	divisor := generator(check)
	block := func(i int) []byte {
		at := i*short + max(0, i-(n-long))
		if i >= n-long {
			return data[at : at+short+1]
		}
		return data[at : at+short]
	}
	for i := range n {
		remainder(checks[i*check:(i+1)*check], block(i), divisor)
	}
	for at := range short + 1 {
		for i := range n {
			if b := block(i); at < len(b) {
				out = append(out, b[at])
			}
		}
	}
	for at := range check {
		for i := range n {
			out = append(out, checks[i*check+at])
		}
	}
	return out
}

// multiply is the product in GF(2^8) modulo x^8+x^4+x^3+x^2+1 (section 7.5.2).
func multiply(a, b byte) (p byte) {
	for i := 7; i >= 0; i-- {
		p = p<<1 ^ (p>>7)*0x1d
		p ^= (b >> i & 1) * a
	}
	return p
}

// generator is the polynomial with the roots 2^0 to 2^(n-1), without its leading 1.
func generator(n int) []byte {
	g := make([]byte, n)
	g[n-1] = 1
	root := byte(1)
	for range n {
		for i := range g {
			g[i] = multiply(g[i], root)
			if i+1 < n {
				g[i] ^= g[i+1]
			}
		}
		root = multiply(root, 2)
	}
	return g
}

// remainder sets out to the Reed-Solomon check codewords of data.
func remainder(out, data, divisor []byte) {
	clear(out)
	for _, d := range data {
		f := d ^ out[0]
		copy(out, out[1:])
		out[len(out)-1] = 0
		for i := range out {
			out[i] ^= multiply(divisor[i], f)
		}
	}
}

func (c *code) set(row, col int, dark bool) {
	c.dark[row*c.size+col], c.fixed[row*c.size+col] = dark, true
}

// patterns draws what does not depend on the text (section 6.3), and reserves
// the places of the format information.
func (c *code) patterns() {
	for i := range c.size {
		c.set(6, i, i%2 == 0)
		c.set(i, 6, i%2 == 0)
	}
	for _, corner := range [][2]int{{3, 3}, {3, c.size - 4}, {c.size - 4, 3}} {
		for dr := -4; dr <= 4; dr++ {
			for dc := -4; dc <= 4; dc++ {
				if r, k := corner[0]+dr, corner[1]+dc; r >= 0 && r < c.size && k >= 0 && k < c.size {
					d := max(dr, -dr, dc, -dc)
					c.set(r, k, d != 2 && d != 4)
				}
			}
		}
	}
	at := alignment(c.version, c.size)
	for i, r := range at {
		for j, k := range at {
			if last := len(at) - 1; i == 0 && (j == 0 || j == last) || i == last && j == 0 {
				continue // a finder pattern is there
			}
			for dr := -2; dr <= 2; dr++ {
				for dc := -2; dc <= 2; dc++ {
					c.set(r+dr, k+dc, max(dr, -dr, dc, -dc) != 1)
				}
			}
		}
	}
	c.format(0)
	if c.version < 7 {
		return
	}
	// Version information: BCH(18,6) (section 7.10).
	rem := c.version
	for range 12 {
		rem = rem<<1 ^ rem>>11*0x1f25
	}
	bits := c.version<<12 | rem
	for i := range 18 {
		dark := bits>>i&1 == 1
		c.set(i/3, c.size-11+i%3, dark)
		c.set(c.size-11+i%3, i/3, dark)
	}
}

// alignment are the centres of the alignment patterns (annex E).
func alignment(version, size int) []int {
	if version == 1 {
		return nil
	}
	n := version/7 + 2
	step := (version*8 + n*3 + 5) / (n*4 - 4) * 2
	at := make([]int, n)
	for i := range at {
		at[i] = size - 7 - (n-1-i)*step
	}
	at[0] = 6
	return at
}

// format draws level and mask: BCH(15,5) (section 7.9).
func (c *code) format(mask int) {
	const levelM = 0
	data := levelM<<3 | mask
	rem := data
	for range 10 {
		rem = rem<<1 ^ rem>>9*0x537
	}
	bits := (data<<10 | rem) ^ 0x5412
	dark := func(i int) bool { return bits>>i&1 == 1 }
	for i := range 6 {
		c.set(i, 8, dark(i))
		c.set(8, 5-i, dark(9+i))
	}
	c.set(7, 8, dark(6))
	c.set(8, 8, dark(7))
	c.set(8, 7, dark(8))
	for i := range 8 {
		c.set(8, c.size-1-i, dark(i))
	}
	for i := 8; i < 15; i++ {
		c.set(c.size-15+i, 8, dark(i))
	}
	c.set(c.size-8, 8, true) // always dark
}

// place writes the codewords in columns of two modules, from the lower right
// corner upwards and downwards in turn (section 7.7.3).
func (c *code) place(codewords []byte) {
	bit := 0
	for right := c.size - 1; right >= 1; right -= 2 {
		if right == 6 {
			right = 5 // the timing pattern's column is skipped
		}
		for i := range c.size {
			row := i
			if (right+1)&2 == 0 {
				row = c.size - 1 - i
			}
			for _, col := range [2]int{right, right - 1} {
				if !c.fixed[row*c.size+col] && bit < 8*len(codewords) {
					c.dark[row*c.size+col] = codewords[bit/8]>>(7-bit%8)&1 == 1
					bit++
				}
			}
		}
	}
}

// flip applies a mask (section 7.8.2), or takes it away.
func (c *code) flip(mask int) {
	for y := range c.size {
		for x := range c.size {
			if c.fixed[y*c.size+x] {
				continue
			}
			hit := false
			switch mask {
			case 0:
				hit = (x+y)%2 == 0
			case 1:
				hit = y%2 == 0
			case 2:
				hit = x%3 == 0
			case 3:
				hit = (x+y)%3 == 0
			case 4:
				hit = (x/3+y/2)%2 == 0
			case 5:
				hit = x*y%2+x*y%3 == 0
			case 6:
				hit = (x*y%2+x*y%3)%2 == 0
			case 7:
				hit = ((x+y)%2+x*y%3)%2 == 0
			}
			if hit {
				c.dark[y*c.size+x] = !c.dark[y*c.size+x]
			}
		}
	}
}

// mask chooses the mask that readers find easiest (section 7.8.3).
func (c *code) mask() {
	best, least := 0, -1
	for m := range 8 {
		c.format(m)
		c.flip(m)
		if p := c.penalty(); least < 0 || p < least {
			best, least = m, p
		}
		c.flip(m)
	}
	c.format(best)
	c.flip(best)
}

func (c *code) penalty() (p int) {
	count := 0
	for i := range c.size {
		p += c.line(func(j int) bool { return c.dark[i*c.size+j] })
		p += c.line(func(j int) bool { return c.dark[j*c.size+i] })
		for j := range c.size {
			d := c.dark[i*c.size+j]
			if d {
				count++
			}
			if i > 0 && j > 0 && c.dark[(i-1)*c.size+j] == d && c.dark[i*c.size+j-1] == d && c.dark[(i-1)*c.size+j-1] == d {
				p += 3
			}
		}
	}
	// Ten for each step of five percent away from half.
	total := c.size * c.size
	off := 20*count - 10*total
	return p + 10*max(0, (max(off, -off)+total-1)/total-1)
}

// line is the penalty of a row or column: for runs of five and more, and for
// what looks like a finder pattern.
func (c *code) line(dark func(int) bool) (p int) {
	run := 0
	for j := range c.size {
		if j > 0 && dark(j) == dark(j-1) {
			run++
		} else {
			run = 1
		}
		if run == 5 {
			p += 3
		} else if run > 5 {
			p++
		}
	}
	const finder = 0b1011101
	window := 0
	light := func(from, to int) bool { // outside of the code all is light
		for k := max(from, 0); k < min(to, c.size); k++ {
			if dark(k) {
				return false
			}
		}
		return true
	}
	for j := range c.size {
		window = window << 1 & 0x7f
		if dark(j) {
			window |= 1
		}
		if j >= 6 && window == finder {
			if light(j-10, j-6) {
				p += 40
			}
			if light(j+1, j+5) {
				p += 40
			}
		}
	}
	return p
}

// png writes the image: one bit per pixel, grey, in stored blocks (RFC 2083, RFC 1951).
func (c *code) png() []byte {
	side := (c.size + 2*quiet) * scale
	row := 1 + (side+7)/8 // a filter byte first
	pixels := row * side
	const block = 0xffff
	stored := (pixels + block - 1) / block
	idat := 2 + 5*stored + pixels + 4
	out := make([]byte, 0, 8+12+13+12+idat+12)
	out = append(out, "\x89PNG\r\n\x1a\n"...)
	begin := func(kind string, n int) {
		out = append(binary.BigEndian.AppendUint32(out, uint32(n)), kind...)
	}
	end := func(n int) { // the sum is over kind and data
		out = binary.BigEndian.AppendUint32(out, crc32.ChecksumIEEE(out[len(out)-n-4:]))
	}
	begin("IHDR", 13)
	out = binary.BigEndian.AppendUint32(out, uint32(side))
	out = binary.BigEndian.AppendUint32(out, uint32(side))
	out = append(out, 1, 0, 0, 0, 0)
	end(13)
	begin("IDAT", idat)
	out = append(out, 0x78, 0x01)
	a, b := uint32(1), uint32(0) // adler-32
	for i := range pixels {
		if i%block == 0 {
			n := min(block, pixels-i)
			final := byte(0)
			if i+n == pixels {
				final = 1
			}
			out = append(out, final, byte(n), byte(n>>8), ^byte(n), ^byte(n>>8))
		}
		v := byte(0)
		if at := i % row; at > 0 {
			v = c.eight(i/row, 8*(at-1))
		}
		out = append(out, v)
		a = (a + uint32(v)) % 65521
		b = (b + a) % 65521
	}
	out = binary.BigEndian.AppendUint32(out, b<<16|a)
	end(idat)
	begin("IEND", 0)
	end(0)
	return out
}

// eight are eight pixels of a row; white is 1.
func (c *code) eight(y, x int) (v byte) {
	for i := range 8 {
		row, col := y/scale-quiet, (x+i)/scale-quiet
		dark := row >= 0 && row < c.size && col >= 0 && col < c.size && c.dark[row*c.size+col]
		v <<= 1
		if !dark {
			v |= 1
		}
	}
	return v
}
