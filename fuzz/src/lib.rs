//! Runs a target of `parallax-decoding` under the fuzzer, and measures what decoding takes of memory.

use parallax_decoding::{MEMORY_FIXED, MEMORY_PER_BYTE, target};
use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// The system's allocator with a count of the bytes that are held.
struct Counting;

static HELD: AtomicUsize = AtomicUsize::new(0);
static MOST: AtomicUsize = AtomicUsize::new(0);

fn grown(bytes: usize) {
    let held = HELD.fetch_add(bytes, Relaxed).wrapping_add(bytes);
    MOST.fetch_max(held, Relaxed);
}

// SAFETY: every call goes to the system's allocator unchanged. `realloc` is not forwarded but left to its default, an
// allocation, a copy and a release, which is the most that it can take.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        grown(layout.size());
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        HELD.fetch_sub(layout.size(), Relaxed);
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// One input of one target.
///
/// # Panics
/// If a property does not hold: a finding.
pub fn run(name: &str, data: &[u8]) {
    let target = target(name).unwrap_or_else(|| panic!("{name} is no target of parallax-decoding"));
    let before = HELD.load(Relaxed);
    MOST.store(before, Relaxed);
    (target.decode)(data);
    let taken = MOST.load(Relaxed).saturating_sub(before);
    let allowed = data.len().saturating_mul(MEMORY_PER_BYTE).saturating_add(MEMORY_FIXED);
    assert!(taken <= allowed, "decoding {} bytes took {taken} bytes of memory; {allowed} are allowed", data.len());
    (target.check)(data);
}
