//! Buffers that are used again. A run allocates a handful and no more, whatever its size: with many threads the allocator
//! would otherwise keep freed parts in arenas of its own, and the memory limit would be missed by a multiple.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use bytes::Bytes;

/// Spare buffers of one size.
#[derive(Clone, Debug, Default)]
pub(super) struct Pool(Arc<Mutex<Vec<Vec<u8>>>>);

/// A buffer that returns to its pool when its last reader is done.
pub(super) struct Buffer {
    bytes: Vec<u8>,
    pool: Pool,
}

impl Pool {
    /// An empty buffer with room for `capacity` bytes. Smaller spares are given back to the system.
    pub(super) fn take(&self, capacity: usize) -> Buffer {
        let spare = {
            let mut spares = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            spares.retain(|spare| spare.capacity() >= capacity);
            spares.pop()
        };
        Buffer {
            bytes: spare.unwrap_or_else(|| Vec::with_capacity(capacity)),
            pool: self.clone(),
        }
    }
}

impl Buffer {
    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    pub(super) fn extend(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    pub(super) fn freeze(self) -> Bytes {
        Bytes::from_owner(self)
    }
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let mut bytes = std::mem::take(&mut self.bytes);
        bytes.clear();
        self.pool
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(bytes);
    }
}

impl fmt::Debug for Buffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Buffer({} bytes)", self.bytes.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_is_used_again_once_its_last_reader_is_done() {
        let pool = Pool::default();
        let mut buffer = pool.take(100);
        buffer.extend(b"part");
        let home = buffer.as_ref().as_ptr();
        let bytes = buffer.freeze();
        let other = bytes.clone();
        drop(bytes);
        assert_ne!(
            pool.take(100).as_ref().as_ptr(),
            home,
            "it still has a reader"
        );
        drop(other);
        let spares = [pool.take(100), pool.take(100)];
        assert!(spares.iter().any(|spare| spare.as_ref().as_ptr() == home));
        assert!(spares.iter().all(|spare| spare.len() == 0));
    }

    #[test]
    fn spares_that_have_become_too_small_are_let_go() {
        let pool = Pool::default();
        drop((pool.take(10), pool.take(10)));
        let _large = pool.take(1000);
        assert_eq!(pool.0.lock().unwrap().len(), 0);
    }
}
