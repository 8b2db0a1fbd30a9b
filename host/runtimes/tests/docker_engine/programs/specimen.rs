//! The one program of the tests' images. Linked statically with nothing but the standard library, so that an image can hold it alone.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream, ToSocketAddrs};
use std::time::Duration;

unsafe extern "C" {
    fn signal(signal: i32, handler: usize) -> usize;
    fn _exit(code: i32) -> !;
    fn write(file: i32, bytes: *const u8, count: usize) -> isize;
}

extern "C" fn leave(_: i32) {
    unsafe { _exit(0) }
}

extern "C" fn say_reopened(_: i32) {
    let text = b"hung up\n";
    unsafe {
        write(1, text.as_ptr(), text.len());
    }
}

fn serve(port: u16) -> ! {
    let listener = TcpListener::bind(("0.0.0.0", port)).expect("the port is free in the container");
    println!("listening on {port}");
    for stream in listener.incoming() {
        let Ok(mut stream) = stream else { continue };
        std::thread::spawn(move || {
            let mut request = [0; 4096];
            // Answers each request of a connection, and keeps it open until the client ends it.
            while stream.read(&mut request).is_ok_and(|read| read > 0) {
                let body = std::env::var("RELEASE").unwrap_or_else(|_| "none".to_owned());
                // In one piece, so that a reader needs no patience.
                let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len());
                let _ = stream.write_all(answer.as_bytes());
            }
        });
    }
    unreachable!("a listener never ends")
}

fn forever() -> ! {
    loop {
        std::thread::sleep(Duration::from_secs(3600));
    }
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let argument = |index: usize| arguments.get(index).map_or("", String::as_str);
    let number = |index: usize| argument(index).parse::<u64>().unwrap_or(0);
    match argument(1) {
        "serve" => {
            unsafe {
                signal(15, leave as extern "C" fn(i32) as usize);
                signal(1, say_reopened as extern "C" fn(i32) as usize);
            }
            serve(number(2) as u16)
        }
        // As process 1 it has no handler for SIGTERM, and the kernel spares it.
        "stubborn" => serve(number(2) as u16),
        "exit" => std::process::exit(number(2) as i32),
        "crash-after" => {
            println!("about to crash");
            std::thread::sleep(Duration::from_millis(number(2)));
            std::process::exit(3)
        }
        "hog" => {
            let mut held = Vec::new();
            loop {
                held.push(vec![1_u8; 1 << 20]);
                std::hint::black_box(&held);
            }
        }
        "wait" => {
            println!("waiting");
            forever()
        }
        "spawn-and-wait" => {
            let own = std::env::current_exe().expect("its own path");
            let mut child = std::process::Command::new(own).arg("wait").spawn().expect("a child");
            println!("spawned");
            let _ = child.wait();
            forever()
        }
        "print" => {
            for name in &arguments[2..] {
                println!("{name}={}", std::env::var(name).unwrap_or_else(|_| "-".to_owned()));
            }
            println!("cwd={}", std::env::current_dir().expect("a folder").display());
            eprintln!("to the error output");
        }
        "print-and-wait" => {
            println!("{}", arguments[2..].join(" "));
            println!("PASSWORD={}", std::env::var("PASSWORD").unwrap_or_default());
            forever()
        }
        "write-and-serve" => {
            std::fs::write(argument(3), argument(4)).expect("the volume takes a file");
            serve(number(2) as u16)
        }
        "copy" => {
            let mut input = Vec::new();
            std::io::stdin().read_to_end(&mut input).expect("its input");
            std::io::stdout().write_all(&input).expect("its output");
            std::process::exit(number(2) as i32)
        }
        "fill" => {
            let block = [b'x'; 4096];
            let mut left = number(2) as usize;
            while left > 0 {
                let now = left.min(block.len());
                std::io::stdout().write_all(&block[..now]).expect("its output");
                left -= now;
            }
        }
        // Lines on both outputs, numbered, a little apart so that a reader can lose its connection in the middle.
        "count" => {
            for line in 0..number(2) {
                println!("out {line}");
                eprintln!("err {line}");
                if line % 50 == 0 {
                    std::thread::sleep(Duration::from_millis(number(3)));
                }
            }
            if argument(4) == "then-wait" {
                forever()
            }
        }
        "fetch" => {
            let address = argument(2).to_socket_addrs().expect("the name is known").next().expect("an address");
            let mut stream = TcpStream::connect(address).expect("somebody listens");
            stream.write_all(b"GET / HTTP/1.1\r\n\r\n").expect("a request");
            let mut answer = [0; 1024];
            let read = stream.read(&mut answer).expect("an answer");
            println!("{}", String::from_utf8_lossy(&answer[..read]).lines().last().unwrap_or_default());
        }
        // Prints files, as `cat` does.
        "cat" => {
            for path in &arguments[2..] {
                print!("{}", std::fs::read_to_string(path).expect("the file is there"));
            }
        }
        other => panic!("no such part: {other}"),
    }
}
