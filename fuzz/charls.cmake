# CharLS, the one reader in C++, with the checks of the address sanitizer.
add_compile_options(-fsanitize=address -fno-omit-frame-pointer)
