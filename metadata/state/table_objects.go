package state

// object is one data object that extents refer to. name and size never change, so that an image may read them while refs is
// being counted.
type object struct {
	name ObjectName
	size int64
	refs int32 // extents that refer to it
}

// objects counts references to data objects. It is derived from the extents: it has no encoding and no hash of its own, and
// Restore counts anew. Nothing walks its maps.
type objects struct {
	names  map[ObjectName]*object
	owners map[UUID]int // how many objects of each owner are referenced
}

// reference answers the object of that name with one more reference.
func (os *objects) reference(name ObjectName, size int64) *object {
	o, ok := os.names[name]
	if !ok {
		o = &object{name: name, size: size}
		os.names[name] = o
		os.owners[name.Owner]++
	}
	o.refs++
	return o
}

// dereference reports whether that was the last reference to any object of this owner.
func (os *objects) dereference(o *object) (last bool) {
	if o.refs--; o.refs > 0 {
		return false
	}
	delete(os.names, o.name)
	if os.owners[o.name.Owner]--; os.owners[o.name.Owner] > 0 {
		return false
	}
	delete(os.owners, o.name.Owner)
	return true
}
