use std::{fs, io};

use crate::invalid;

/// What all threads of the processes have spent on a processor so far.
pub fn spent_ns(pids: &[u32]) -> io::Result<u64> {
    let mut sum = 0;
    for pid in pids {
        for task in fs::read_dir(format!("/proc/{pid}/task"))? {
            // A thread may end between the two reads.
            let Ok(line) = fs::read_to_string(task?.path().join("schedstat")) else { continue };
            let first = line.split_whitespace().next().and_then(|field| field.parse::<u64>().ok());
            sum += first.ok_or_else(|| invalid("schedstat cannot be read"))?;
        }
    }
    Ok(sum)
}
