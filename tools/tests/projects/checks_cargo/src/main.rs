fn main() {
    let x = 5;
    let y = x.clone();
    println!("{}",   y);
    let unused = 1;
}
