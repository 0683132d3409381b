//! The children: a static program that answers lines, compiled when the benchmark starts.

use std::{io::Write, path::PathBuf, process::Stdio};

use procession::process::Command;

/// Answers each line that has a numeric id. Ends with its stdin or when it is told to. It has no C library,
/// because starting one takes longer than everything that is measured here.
const SOURCE: &str = r#"
    #if defined(__x86_64__)
    static long call(long n, long a, const void *b, long c) {
        long r;
        __asm__ volatile("syscall" : "=a"(r) : "a"(n), "D"(a), "S"(b), "d"(c) : "rcx", "r11", "memory");
        return r;
    }
    enum { READ = 0, WRITE = 1, EXIT = 60 };
    #define START __attribute__((force_align_arg_pointer))
    #else
    static long call(long n, long a, const void *b, long c) {
        register long x8 __asm__("x8") = n, x0 __asm__("x0") = a, x2 __asm__("x2") = c;
        register const void *x1 __asm__("x1") = b;
        __asm__ volatile("svc #0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2) : "memory");
        return x0;
    }
    enum { READ = 63, WRITE = 64, EXIT = 93 };
    #define START
    #endif
    static char in[8192], out[256];
    static const char *find(const char *text, const char *end, const char *what) {
        for (; text < end; text++) {
            const char *t = text, *w = what;
            while (t < end && *w && *t == *w) t++, w++;
            if (!*w) return t;
        }
        return 0;
    }
    static char *put(char *to, const char *text) {
        while (*text) *to++ = *text++;
        return to;
    }
    START void _start(void) {
        long have = 0;
        for (;;) {
            long got = call(READ, 0, in + have, sizeof in - have);
            if (got <= 0) break;
            have += got;
            char *line = in, *end = in;
            for (; end < in + have; end++) {
                if (*end != '\n') continue;
                const char *id = find(line, end, "\"id\":");
                if (id) {
                    char *to = put(out, "{\"jsonrpc\":\"2.0\",\"id\":");
                    while (*id >= '0' && *id <= '9') *to++ = *id++;
                    to = put(to, find(line, end, "\"initialize\"")
                        ? ",\"result\":{\"ok\":true,\"supportedMethods\":[\"echo\"]}}\n"
                        : ",\"result\":1}\n");
                    call(WRITE, 1, out, to - out);
                }
                if (find(line, end, "\"shutdown\"")) call(EXIT, 0, 0, 0);
                line = end + 1;
            }
            have = in + have - line;
            for (long i = 0; i < have; i++) in[i] = line[i];
        }
        call(EXIT, 0, 0, 0);
    }
"#;

pub(crate) struct Child(pub(crate) PathBuf);

impl Child {
    pub(crate) fn compile() -> Child {
        let path = std::env::temp_dir().join(format!("procession-bench-child-{}", std::process::id()));
        let mut cc = std::process::Command::new("cc")
            .args(["-O1", "-static", "-nostdlib", "-ffreestanding", "-fno-stack-protector", "-fno-builtin"])
            .args(["-x", "c", "-", "-o"])
            .arg(&path)
            .stdin(Stdio::piped())
            .spawn()
            .expect("a C compiler");
        cc.stdin.take().unwrap().write_all(SOURCE.as_bytes()).unwrap();
        assert!(cc.wait().unwrap().success());
        Child(path)
    }

    pub(crate) fn command(&self) -> Command {
        Command::new(&self.0)
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}
