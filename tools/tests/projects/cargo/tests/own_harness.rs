fn main() {
    println!("running my own things");
    std::process::exit(3);
}
