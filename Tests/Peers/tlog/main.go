// Checks signed heads and proofs with golang.org/x/mod/sumdb. It reads one case a line (JSON) and answers each with one
// line: "ok", or "no" and the reason. `tlog tiles FOLDER VKEY [VKEY]` checks a log in tlog-tiles' layout instead.
package main

import (
	"bufio"
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

type testCase struct {
	// The tree's records are "SEED/0", "SEED/1", …; without Rebuild only heads and proofs are looked at.
	Seed        string
	Rebuild     bool
	Note        []byte
	Device      string
	Witness     string
	Index       int64
	Leaf        []byte
	Inclusion   [][]byte
	Old         int64
	OldRoot     []byte
	Consistency [][]byte
}

// cosigner verifies C2SP cosignature/v1, which note.NewVerifier does not know.
type cosigner struct {
	name string
	hash uint32
	key  ed25519.PublicKey
}

func (c cosigner) Name() string    { return c.name }
func (c cosigner) KeyHash() uint32 { return c.hash }
func (c cosigner) Verify(text, signature []byte) bool {
	if len(signature) != 72 {
		return false
	}
	time := binary.BigEndian.Uint64(signature)
	message := append([]byte(fmt.Sprintf("cosignature/v1\ntime %d\n", time)), text...)
	return ed25519.Verify(c.key, message, signature[8:])
}

func verifier(vkey string) (note.Verifier, error) {
	parts := strings.SplitN(vkey, "+", 3)
	if len(parts) != 3 {
		return nil, errors.New("no verifier key")
	}
	key, err := base64.StdEncoding.DecodeString(parts[2])
	if err != nil {
		return nil, err
	}
	if len(key) != 33 || key[0] != 4 {
		return note.NewVerifier(vkey)
	}
	sum := sha256.Sum256(append([]byte(parts[0]+"\n"), key...))
	hash, err := strconv.ParseUint(parts[1], 16, 32)
	if err != nil || uint32(hash) != binary.BigEndian.Uint32(sum[:4]) {
		return nil, errors.New("the key id is not the key's")
	}
	return cosigner{parts[0], uint32(hash), ed25519.PublicKey(key[1:])}, nil
}

// open demands a valid signature by every key.
func open(signed []byte, vkeys ...string) (origin string, tree tlog.Tree, err error) {
	var known []note.Verifier
	for _, vkey := range vkeys {
		one, err := verifier(vkey)
		if err != nil {
			return "", tree, err
		}
		known = append(known, one)
	}
	opened, err := note.Open(signed, note.VerifierList(known...))
	if err != nil {
		return "", tree, err
	}
	for _, one := range known {
		found := false
		for _, signature := range opened.Sigs {
			found = found || signature.Name == one.Name() && signature.Hash == one.KeyHash()
		}
		if !found {
			return "", tree, errors.New("a signature is missing")
		}
	}
	lines := strings.Split(opened.Text, "\n")
	if len(lines) < 4 {
		return "", tree, errors.New("no checkpoint")
	}
	if tree.N, err = strconv.ParseInt(lines[1], 10, 64); err != nil {
		return "", tree, err
	}
	tree.Hash, err = tlog.ParseHash(lines[2])
	return lines[0], tree, err
}

func hash(bytes []byte) (h tlog.Hash, err error) {
	if len(bytes) != len(h) {
		return h, errors.New("no hash")
	}
	copy(h[:], bytes)
	return h, nil
}

func hashes(list [][]byte) ([]tlog.Hash, error) {
	var result []tlog.Hash
	for _, bytes := range list {
		h, err := hash(bytes)
		if err != nil {
			return nil, err
		}
		result = append(result, h)
	}
	return result, nil
}

type stored []tlog.Hash

func (s stored) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	var result []tlog.Hash
	for _, index := range indexes {
		if index >= int64(len(s)) {
			return nil, errors.New("no such hash")
		}
		result = append(result, s[index])
	}
	return result, nil
}

func same(a, b []tlog.Hash) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i] != b[i] {
			return false
		}
	}
	return true
}

func check(c testCase) error {
	keys := []string{c.Device}
	if c.Witness != "" {
		keys = append(keys, c.Witness)
	}
	origin, tree, err := open(c.Note, keys...)
	if err != nil {
		return err
	}
	if !strings.HasPrefix(c.Device, origin+"+") {
		return errors.New("another log's head")
	}
	leaf, err := hash(c.Leaf)
	if err != nil {
		return err
	}
	inclusion, err := hashes(c.Inclusion)
	if err != nil {
		return err
	}
	consistency, err := hashes(c.Consistency)
	if err != nil {
		return err
	}
	oldRoot, err := hash(c.OldRoot)
	if err != nil {
		return err
	}
	if err := tlog.CheckRecord(inclusion, tree.N, tree.Hash, c.Index, leaf); err != nil {
		return err
	}
	if err := tlog.CheckTree(consistency, tree.N, tree.Hash, c.Old, oldRoot); err != nil {
		return err
	}
	if !c.Rebuild {
		return nil
	}
	var all stored
	for n := int64(0); n < tree.N; n++ {
		more, err := tlog.StoredHashes(n, []byte(fmt.Sprintf("%s/%d", c.Seed, n)), all)
		if err != nil {
			return err
		}
		all = append(all, more...)
	}
	root, err := tlog.TreeHash(tree.N, all)
	if err != nil || root != tree.Hash {
		return errors.New("the root is not the records'")
	}
	record, err := tlog.ProveRecord(tree.N, c.Index, all)
	if err != nil || !same(record, inclusion) {
		return errors.New("Go makes another inclusion proof")
	}
	proof, err := tlog.ProveTree(tree.N, c.Old, all)
	if err != nil || !same(proof, consistency) {
		return errors.New("Go makes another consistency proof")
	}
	return nil
}

// folder is a log in tlog-tiles' layout, read through Go's own tile code.
type folder struct{ path string }

func (f folder) Height() int                             { return 8 }
func (f folder) SaveTiles(tiles []tlog.Tile, _ [][]byte) {}
func (f folder) ReadTiles(tiles []tlog.Tile) ([][]byte, error) {
	var result [][]byte
	for _, tile := range tiles {
		// Go's path names the height, which C2SP's leaves out.
		data, err := os.ReadFile(filepath.Join(f.path, "tile", strings.TrimPrefix(tile.Path(), "tile/8/")))
		if err != nil {
			return nil, err
		}
		result = append(result, data)
	}
	return result, nil
}

func checkTiles(path string, vkeys []string) error {
	signed, err := os.ReadFile(filepath.Join(path, "checkpoint"))
	if err != nil {
		return err
	}
	_, tree, err := open(signed, vkeys...)
	if err != nil {
		return err
	}
	reader := tlog.TileHashReader(tree, folder{path})
	for first := int64(0); first < tree.N; first += 256 {
		tile := tlog.Tile{H: 8, L: 0, N: first / 256, W: 256}
		if tree.N-first < 256 {
			tile.W = int(tree.N - first)
		}
		name := strings.Replace(tile.Path(), "tile/8/0/", "tile/entries/", 1)
		data, err := os.ReadFile(filepath.Join(path, name))
		if err != nil {
			return err
		}
		var indexes []int64
		for n := first; n < first+int64(tile.W); n++ {
			indexes = append(indexes, tlog.StoredHashIndex(0, n))
		}
		leaves, err := reader.ReadHashes(indexes)
		if err != nil {
			return err
		}
		for i, leaf := range leaves {
			if len(data) < 2 || len(data)-2 < int(binary.BigEndian.Uint16(data)) {
				return fmt.Errorf("entry %d is cut off", first+int64(i))
			}
			length := int(binary.BigEndian.Uint16(data))
			if tlog.RecordHash(data[2:2+length]) != leaf {
				return fmt.Errorf("entry %d is not the tile's", first+int64(i))
			}
			data = data[2+length:]
		}
		if len(data) != 0 {
			return errors.New("an entry bundle is too long")
		}
	}
	fmt.Println("ok", tree.N)
	return nil
}

func main() {
	if len(os.Args) > 3 && os.Args[1] == "tiles" {
		if err := checkTiles(os.Args[2], os.Args[3:]); err != nil {
			fmt.Println("no", err)
			os.Exit(1)
		}
		return
	}
	in := bufio.NewReader(os.Stdin)
	out := bufio.NewWriter(os.Stdout)
	defer out.Flush()
	for {
		line, err := in.ReadBytes('\n')
		if err == io.EOF && len(bytes.TrimSpace(line)) == 0 {
			return
		}
		var c testCase
		if err := json.Unmarshal(line, &c); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(2)
		}
		if err := check(c); err != nil {
			fmt.Fprintln(out, "no", strings.ReplaceAll(err.Error(), "\n", " "))
		} else {
			fmt.Fprintln(out, "ok")
		}
	}
}
